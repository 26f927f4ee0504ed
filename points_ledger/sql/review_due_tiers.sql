-- Renews or lowers the tiers whose validity and grace have run out: design 7, Tiers.
--
-- Parameters: members (bigint[], wallets locked by the caller), day (the business date that was closed), run_id.
-- Locks: none of its own. Idempotence: every decision moves review_on beyond the day.
-- The tier is kept when the metric of the period that ended with valid_to, or of the window that ends today, reaches
-- keep_at: the days of grace count. Lowered one step or to what was earned; held from the next day on.
with rules as (
    select * from points.tiering where version = points.version_on(:day)
),
tiers as (
    select t.* from points.policy_tier as t inner join rules as r on r.version = t.version
),
due as (
    select h.*, m.joined_on, coalesce(t.rank, 0) as rank, t.keep_at, r.metric, r.period, r.downgrade, r.grace_days, r.version
    from points.member_tier as h
    inner join points.member as m on m.member_id = h.member_id
    cross join rules as r
    left join tiers as t on t.code = h.tier
    where h.member_id = any(:members) and h.review_on <= :day and coalesce(h.protected_until < :day, true)
),
moved as materialized (
    select x.member_id, x.moved_on, x.amount
    from rules as r
    cross join lateral points.tier_metric(:members, r.metric,
        coalesce((select min(points.window_from(d.period, least(d.valid_to, :day), d.joined_on)) from due as d), :day)) as x
),
measured as (
    select d.*, greatest(before.amount, today.amount) as amount,
        case when before.amount >= today.amount then d.valid_to else CAST(:day AS date) end as window_through
    from due as d
    cross join lateral (
        select coalesce(sum(m.amount), 0) as amount from moved as m
        where m.member_id = d.member_id and m.moved_on between points.window_from(d.period, d.valid_to, d.joined_on) and d.valid_to
    ) as before
    cross join lateral (
        select coalesce(sum(m.amount), 0) as amount from moved as m
        where m.member_id = d.member_id and m.moved_on between points.window_from(d.period, :day, d.joined_on) and :day
    ) as today
),
outcome as (
    select m.*, m.downgrade = 'none' or (m.keep_at is not null and m.amount >= m.keep_at) as is_kept,
        (m.valid_to + interval '12 months')::date as next_valid_to, lower_tier.code as lower_code, lower_tier.enter_at as lower_enter_at
    from measured as m
    left join lateral (
        select t.code, t.enter_at from tiers as t
        where t.rank < m.rank and (m.downgrade = 'one_down' or t.enter_at <= m.amount)
        order by t.rank desc limit 1
    ) as lower_tier on true
),
decided as (
    insert into points.tier_decision (
        member_id, decision_no, decided_on, held_from, tier, previous_tier, what, metric, amount, window_from, window_through,
        threshold, valid_to, review_on, policy_version, run_id, sentence)
    select
        o.member_id, o.decision_no + 1, :day, CAST(:day AS date) + 1, case when o.is_kept then o.tier else o.lower_code end, o.tier,
        case when o.is_kept then 'renewal' else 'downgrade' end, o.metric, o.amount,
        points.window_from(o.period, o.window_through, o.joined_on), o.window_through, coalesce(o.keep_at, 0),
        case when o.is_kept or o.lower_enter_at > 0 then o.next_valid_to end,
        case when o.is_kept or o.lower_enter_at > 0 then o.next_valid_to + o.grace_days end,
        o.version, CAST(:run_id AS bigint),
        case when o.is_kept then format('Keeps %s: %s from %s through %s is %s, and staying asks for %s. Valid to %s.',
            o.tier, replace(o.metric, '_', ' '), points.window_from(o.period, o.window_through, o.joined_on), o.window_through,
            trim_scale(o.amount), coalesce(trim_scale(o.keep_at), 0), o.next_valid_to)
        else format('From %s to %s: %s from %s through %s is %s, and staying asks for %s; valid to %s, and %s days of grace have passed.',
            o.tier, o.lower_code, replace(o.metric, '_', ' '), points.window_from(o.period, o.window_through, o.joined_on),
            o.window_through, trim_scale(o.amount), trim_scale(o.keep_at), o.valid_to, o.grace_days) end
    from outcome as o
    where o.is_kept or o.lower_code is not null
    returning what
)
select count(*) filter (where what = 'renewal') as renewals, count(*) filter (where what = 'downgrade') as downgrades from decided
