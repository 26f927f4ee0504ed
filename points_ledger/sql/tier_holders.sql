-- Members with an entry booked by a day, by the tier the decisions up to that day give them. Parameters: through.
-- Locks: none. Idempotence: a read.
with base as (
    select (select code from points.policy_tier where version = points.version_on(least(:through, coalesce(points.last_closed(), :through)))
        and enter_at <= 0 order by rank desc limit 1) as code
)
select coalesce(d.tier, b.code, 'none') as tier, count(*) as members
from (select distinct member_id from points.entry where book_date <= :through) as e
cross join base as b
left join lateral (
    select t.tier from points.tier_decision as t
    where t.member_id = e.member_id and t.decided_on <= :through order by t.decision_no desc limit 1
) as d on true
where exists (select from points.policy_tier)
group by 1
order by 1
