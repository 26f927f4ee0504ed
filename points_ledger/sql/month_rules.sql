-- What the rules of every version are worth: points per 1.00 of a rate, factor of a multiplier, points of a bonus; and the
-- version's cap of a day. Parameters: through. Locks: none. Idempotence: a read.
select r.version, v.effective_from, p.daily_cap, r.kind, r.position, r.amount
from points.policy_rule as r
inner join points.policy_version as v on v.version = r.version
inner join points.policy as p on p.version = r.version
where v.effective_from <= :through
order by r.version, r.kind, r.position
