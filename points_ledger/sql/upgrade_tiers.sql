-- Lifts members whose metric has reached a higher tier: design 7, Tiers.
--
-- Parameters: members (bigint[], wallets locked by the caller), day (the business date that was closed), run_id.
-- Locks: none of its own. Idempotence: a member who holds the tier already is not lifted again.
-- Held from the next day on. A late event lifts from the day after the one on which the tier would have been reached,
-- one decision for each tier it passed; it never lowers the past.
with rules as (
    select * from points.tiering where version = points.version_on(:day)
),
tiers as (
    select t.* from points.policy_tier as t inner join rules as r on r.version = t.version
),
looked_at as (
    select m.member_id, m.joined_on, h.decision_no, h.protected_until,
        coalesce(h.tier, (select code from tiers where enter_at <= 0 order by rank desc limit 1)) as tier
    from points.member as m
    -- by key: the night's cost follows the members it touches, not those who hold a tier
    left join lateral (
        select x.decision_no, x.protected_until, x.tier from points.member_tier as x where x.member_id = m.member_id offset 0
    ) as h on true
    where m.member_id = any(:members)
),
held as (
    select l.*, coalesce(t.rank, 0) as rank
    from looked_at as l
    left join tiers as t on t.code = l.tier
),
late as (
    select member_id, min(effective_on) as since
    from points.entry
    where book_date = :day and kind = 'earn' and effective_on < :day and member_id = any(:members)
    group by member_id
),
moved as materialized (
    select x.member_id, x.moved_on, sum(x.amount) as amount
    from rules as r
    cross join lateral points.tier_metric(:members, r.metric, points.window_from(r.period, coalesce(
        (select min(since) from late), CAST(:day AS date)), (select min(joined_on) from held))) as x
    where x.moved_on <= :day
    group by x.member_id, x.moved_on
),
moments as (
    select member_id, CAST(:day AS date) as moment from held
    union
    select m.member_id, m.moved_on from moved as m inner join late as l on l.member_id = m.member_id where m.moved_on >= l.since
),
measured as (
    select n.member_id, n.moment, points.window_from(r.period, n.moment, h.joined_on) as window_from,
        points.tier_valid_to(r.period, n.moment, h.joined_on) as valid_to, sum(m.amount) as amount
    from moments as n
    cross join rules as r
    inner join held as h on h.member_id = n.member_id
    inner join moved as m on m.member_id = n.member_id
        and m.moved_on between points.window_from(r.period, n.moment, h.joined_on) and n.moment
    group by n.member_id, n.moment, r.period, h.joined_on
),
reached as (
    select distinct on (h.member_id, t.rank) h.member_id, t.rank, t.code, t.enter_at, x.moment, x.window_from, x.valid_to, x.amount
    from held as h
    inner join tiers as t on t.rank > h.rank
    inner join measured as x on x.member_id = h.member_id and x.amount >= t.enter_at
    cross join rules as r
    where coalesce(x.valid_to + r.grace_days, 'infinity') >= :day
    order by h.member_id, t.rank, x.moment
),
steps as (
    -- of tiers reached on the same day only the highest counts
    select distinct on (member_id, moment) * from reached order by member_id, moment, rank desc
),
numbered as (
    select s.*, row_number() over so_far as n, lag(s.code) over so_far as step_before, max(s.rank) over (so_far rows unbounded preceding) as top
    from steps as s
    window so_far as (partition by s.member_id order by s.moment, s.rank)
),
decided as (
    insert into points.tier_decision (
        member_id, decision_no, decided_on, held_from, tier, previous_tier, what, metric, amount, window_from, window_through,
        threshold, valid_to, review_on, protected_until, policy_version, run_id, sentence)
    select
        n.member_id, coalesce(h.decision_no, 0) + n.n, :day, n.moment + 1, n.code, coalesce(n.step_before, h.tier), 'upgrade', r.metric,
        n.amount, n.window_from, n.moment, n.enter_at, n.valid_to, n.valid_to + r.grace_days, h.protected_until, r.version,
        CAST(:run_id AS bigint),
        format('Upgraded from %s to %s: %s from %s through %s is %s, and %s asks for %s. Valid to %s.',
            coalesce(n.step_before, h.tier, 'no tier'), n.code, replace(r.metric, '_', ' '), n.window_from, n.moment,
            trim_scale(n.amount), n.code, trim_scale(n.enter_at), coalesce(n.valid_to::text, 'the end of the programme'))
    from numbered as n
    inner join held as h on h.member_id = n.member_id
    cross join rules as r
    where n.rank = n.top
    returning 1
)
select count(*) as upgrades from decided
