-- What each check answered on each of the last business dates: the newest answer of the date, a whole look before a night's.
-- Parameters: through (date), days. Locks: none. Idempotence: a read.
select distinct on (r.check_id, c.as_of) r.check_id, c.as_of, r.outcome, r.offending
from points.check_run as c
inner join points.check_result as r on r.check_run_id = c.check_run_id
where c.as_of > CAST(:through AS date) - CAST(:days AS int) and c.as_of <= :through
order by r.check_id, c.as_of, r.is_full desc, c.check_run_id desc
