-- Members whose tier runs out (validity and grace) within some days, and what keeps them. Parameters: day, within_days.
-- Locks: none. Idempotence: a read of those due.
with rules as (
    select * from points.tiering where version = points.version_on(:day)
),
due as (
    select h.member_id, m.member_no, m.joined_on, h.tier, h.valid_to, h.review_on, t.keep_at, r.metric, r.period
    from points.member_tier as h
    inner join points.member as m on m.member_id = h.member_id
    cross join rules as r
    inner join points.policy_tier as t on t.version = r.version and t.code = h.tier
    where h.review_on between :day and CAST(:day AS date) + :within_days and coalesce(h.protected_until < h.review_on, true)
        and r.downgrade <> 'none'
),
measured as (
    select d.*, coalesce((
        select sum(x.amount) from points.tier_metric(array[d.member_id], d.metric, points.window_from(d.period, least(d.valid_to, :day), d.joined_on)) as x
        where x.moved_on between points.window_from(d.period, least(d.valid_to, :day), d.joined_on) and :day), 0) as amount
    from due as d
)
select member_no, tier, valid_to, review_on as falls_on, review_on - CAST(:day AS date) as days_left, metric, amount, keep_at,
    greatest(keep_at - amount, 0) as missing
from measured
where amount < keep_at
order by review_on, member_no
