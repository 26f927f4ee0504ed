-- What had been undone before the period. Parameters: first. Locks: none. Idempotence: a read.
select u.*
from points.undone as u
inner join points.run as r on r.run_id = u.undo_run
where r.business_date < :first
