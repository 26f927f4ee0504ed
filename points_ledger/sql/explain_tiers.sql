-- The decisions about a member's tier, in order. Parameters: member_id, as_of. Locks: none. Idempotence: a read.
select decided_on, held_from, tier, previous_tier, what, metric, amount, threshold, valid_to, protected_until, policy_version, sentence
from points.tier_decision
where member_id = :member_id and decided_on <= :as_of
order by decision_no
