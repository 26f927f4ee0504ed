-- A run of an earlier business date is done: none is still running, waiting for a person or failed.
-- Parameters: as_of. Locks: none. Idempotence: a read.
select run_id, format('run %s, %s of %s: %s', run_id, job, business_date, status) as difference
from points.run
where business_date < CAST(:as_of AS date) and status <> 'done'
order by 1
