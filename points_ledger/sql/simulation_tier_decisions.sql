-- The tiers that had been decided before the period. Parameters: first. Locks: none. Idempotence: a read.
select d.*
from points.tier_decision as d
where d.decided_on < :first
order by d.member_id, d.decision_no
