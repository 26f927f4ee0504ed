-- The approvals that what is given refers to, and those that adjustments of the period used. Parameters: none.
-- Locks: none. Idempotence: a read.
select a.*
from points.approval as a
where a.what <> 'policy' and a.approved_at is not null
