-- Accepts the plan of a simulated night that the guard stopped; only in a scratch database, by the schema's owner.
-- Parameters: run_id (text). Locks: the new row. Idempotence: none needed, a second acceptance says the same.
insert into points.approval (what, payload, reason, proposed_by, approved_by, approved_at)
select what, payload, reason, proposed_by, 'simulation', clock_timestamp()
from points.approval
where what = 'plan' and approved_by is null and payload ->> 'run_id' = :run_id
order by approval_id desc
limit 1
