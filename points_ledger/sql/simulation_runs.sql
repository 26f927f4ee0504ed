-- Runs before the period, without the night before it: the simulation finishes that night itself. Parameters: first.
-- Locks: none. Idempotence: a read.
select r.*
from points.run as r
where r.business_date < :first and not (r.job = 'close-night' and r.business_date = CAST(:first AS date) - 1)
order by r.run_id
