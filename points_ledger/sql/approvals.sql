-- What waits for a second person, oldest first; or one proposal, decided or not. Parameters: approval_id (null: what waits).
-- Locks: none. Idempotence: a read.
select approval_id, what, payload, reason, proposed_by, proposed_at, approved_by
from points.approval
where case when CAST(:approval_id AS bigint) is null then approved_by is null else approval_id = :approval_id end
order by approval_id
