-- What a member holds is what the newest decision on their tier says; decisions are numbered without gaps.
-- Parameters: none. Locks: none. Idempotence: a read.
select coalesce(t.member_id, d.member_id) as member_id, format('member_id %s: holds %s by decision %s, the newest of %s is %s: %s',
    coalesce(t.member_id, d.member_id), t.tier, t.decision_no, d.n, d.decision_no, d.tier) as difference
from points.member_tier as t
full join (
    select distinct on (member_id) member_id, decision_no, tier, held_from, valid_to, review_on, protected_until,
        count(*) over (partition by member_id) as n
    from points.tier_decision
    order by member_id, decision_no desc
) as d on d.member_id = t.member_id
where (t.decision_no, t.decision_no, t.tier, t.held_from, t.valid_to, t.review_on, t.protected_until)
    is distinct from (d.decision_no, CAST(d.n AS int), d.tier, d.held_from, d.valid_to, d.review_on, d.protected_until)
order by 1
