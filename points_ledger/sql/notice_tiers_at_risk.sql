-- Tells members who will fall at a review to come unless they earn more (tiers_at_risk), and how much keeps their tier.
-- Parameters: day (the business date that was closed), dates (date[]: the reviews that are told of). Locks: none.
-- Idempotence: by dedupe key, once for each tier and its last day.
with rule as materialized (
    select p.time_zone, t.version, t.metric, t.period, t.downgrade
    from points.notice_policy as p
    inner join points.tiering as t on t.version = p.version and t.downgrade <> 'none'
    where p.version = points.version_on(:day)
),
held as materialized (
    select h.member_id, m.member_no, h.tier, h.valid_to, h.review_on, t.keep_at, t.rank, r.metric, r.time_zone, coalesce((
        select sum(x.amount)
        from points.tier_metric(array[h.member_id], r.metric,
            points.window_from(r.period, least(h.valid_to, CAST(:day AS date)), m.joined_on)) as x
        where x.moved_on between points.window_from(r.period, least(h.valid_to, CAST(:day AS date)), m.joined_on) and CAST(:day AS date)
    ), 0) as amount
    from rule as r
    inner join points.member_tier as h on h.review_on = any(CAST(:dates AS date []))
        and coalesce(h.protected_until < h.review_on, true)
    inner join points.member as m on m.member_id = h.member_id and m.status = 'active'
    inner join points.policy_tier as t on t.version = r.version and t.code = h.tier
),
due as (
    select h.* from held as h
    cross join rule as r
    where h.amount < h.keep_at and exists (  -- there is a tier to fall to
        select from points.policy_tier as l
        where l.version = r.version and l.rank < h.rank and (r.downgrade = 'one_down' or l.enter_at <= h.amount))
)
select points.enqueue_notices(array_agg(row(
    member_id, 'tier_at_risk', 'service', format('tier_at_risk:%s:%s:%s', member_no, tier, valid_to),
    jsonb_build_object('tier', tier, 'missing', trim_scale(keep_at - amount)::text, 'metric', metric, 'deadline', review_on),
    points.begins(CAST(:day AS date) + 1, time_zone), points.begins(review_on + 1, time_zone))::points.due_notice
    order by member_id), CAST(:day AS date)) as written
from due
