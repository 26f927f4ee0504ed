-- Tells members of the tier that a night's decisions leave them with: one notice, from the tier before the first decision to that
-- of the last; none when they are the same.
-- Parameters: members (bigint[], wallets locked by the caller), day (the business date that was closed). Locks: none of its own.
-- Idempotence: by dedupe key.
with rule as materialized (
    select * from points.notice_policy where version = points.version_on(:day)
),
decided as (
    select
        d.member_id, (array_agg(d.previous_tier order by d.decision_no))[1] as from_tier,
        (array_agg(d.tier order by d.decision_no desc))[1] as to_tier,
        (array_agg(d.held_from order by d.decision_no desc))[1] as held_from,
        (array_agg(d.valid_to order by d.decision_no desc))[1] as valid_to
    from points.tier_decision as d
    where d.member_id = any(CAST(:members AS bigint [])) and d.decided_on = CAST(:day AS date) and d.what in ('upgrade', 'downgrade')
    group by d.member_id
),
due as materialized (
    select d.*, m.member_no, r.time_zone,
        case when coalesce(t.rank, 0) > coalesce(f.rank, 0) then 'tier_upgraded' else 'tier_downgraded' end as kind
    from decided as d
    inner join points.member as m on m.member_id = d.member_id
    cross join rule as r
    left join points.policy_tier as f on f.version = r.version and f.code = d.from_tier
    left join points.policy_tier as t on t.version = r.version and t.code = d.to_tier
    where d.from_tier is distinct from d.to_tier
)
select points.enqueue_notices(array_agg(row(
    member_id, kind, 'service', format('%s:%s:%s', kind, member_no, CAST(:day AS date)),
    jsonb_build_object('from_tier', from_tier, 'to_tier', to_tier, 'held_from', held_from, 'valid_through', valid_to),
    points.begins(CAST(:day AS date) + 1, time_zone), points.begins(CAST(:day AS date) + 32, time_zone))::points.due_notice
    order by member_id), CAST(:day AS date)) as written
from due
