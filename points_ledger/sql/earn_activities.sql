-- Posts the bonuses that some members' waiting activities have earned them: design 6, [[earn.bonus]] with an activity.
--
-- Parameters: members (bigint[], wallets locked by the caller), through (date: the open business date), run_id.
-- Locks: none of its own. Idempotence: an activity waits no longer after this statement, and the nth bonus of a rule in a
-- period is one row of activity_earning and one posting_key.
-- Each activity counts by the version of its effective date, when that version's rule fits it; the rule is known by its
-- name over versions. In each period the activities are counted in the order of their time, whenever they came: the one
-- that completes `count` earns, on its own effective date, with that date's validity. A late one can only add.
with fresh as materialized (
    select a.activity_no, m.member_id, m.member_no, a.activity, a.effective_on
    from unnest(CAST(:members AS bigint [])) as chosen (member_id)
    inner join points.member as m on m.member_id = chosen.member_id
    cross join lateral (
        select x.activity_no, x.activity, x.effective_on from points.activity as x
        where x.member_no = m.member_no and x.state = 'waiting' and x.effective_on between m.joined_on and :through
        offset 0
    ) as a
),
rules as materialized (
    select r.*, coalesce(r.name, r.activity || ' x ' || r.activity_count || ' per ' || r.per) as rule
    from points.policy_rule as r
    where r.activity is not null and exists (select from fresh)
),
touched as (
    -- the earliest day that can share a period with something new
    select f.member_id, f.member_no, f.activity, case when bool_or(r.per = 'once') then '-infinity'
        else least(date_trunc('month', min(f.effective_on)), date_trunc('week', min(f.effective_on)))::date end as since
    from fresh as f
    inner join rules as r on r.activity = f.activity
    group by f.member_id, f.member_no, f.activity
),
seen as materialized (
    select t.member_id, a.*
    from touched as t
    cross join lateral (
        select x.activity_no, x.activity, x.happened_at, x.effective_on, x.store, x.channel from points.activity as x
        where x.member_no = t.member_no and x.activity = t.activity and x.effective_on between t.since and :through
            and (x.state = 'posted' or x.activity_no in (select f.activity_no from fresh as f))
        offset 0
    ) as a
),
terms as materialized (
    select day.effective_on, v.version, v.usable_after_days,
        points.valid_through(day.effective_on, v.expiry_basis, v.expiry_months, v.round_up_to, v.month_day) as valid_through,
        case when v.idle_months is not null then v.version end as idle_by
    from (
        select x.effective_on, points.version_on(x.effective_on) as version from (select distinct effective_on from seen) as x offset 0
    ) as day
    inner join points.policy as v on v.version = day.version
),
counted as (
    select
        s.member_id, s.activity_no, s.happened_at, s.effective_on, r.version, r.position, r.rule, r.amount::bigint as points, r.max_times,
        r.activity_count, points.period_name(r.per, s.effective_on) as period, t.usable_after_days, t.valid_through, t.idle_by,
        row_number() over (
            partition by s.member_id, r.rule, r.per, points.period_from(r.per, s.effective_on) order by s.happened_at, s.activity_no
        ) as place
    from seen as s
    inner join terms as t on t.effective_on = s.effective_on
    inner join rules as r on r.version = t.version and r.activity = s.activity
    inner join points.member as m on m.member_id = s.member_id
    where (r.from_on is null or r.from_on <= s.effective_on) and (r.through_on is null or s.effective_on <= r.through_on)
        and (r.stores is null or s.store = any(r.stores)) and (r.channels is null or s.channel = any(r.channels))
        and (r.weekdays is null or extract(isodow from s.effective_on) = any(r.weekdays))
        and (r.tiers is null or points.tier_on(s.member_id, s.effective_on) = any(r.tiers))
        and (r.groups is null or r.groups && m.groups)
        and (r.birthday_month is null
            or r.birthday_month = coalesce(left(m.birthday_md, 2)::int = extract(month from s.effective_on), false))
),
reached as (
    select distinct on (c.member_id, c.rule, c.period, c.place / c.activity_count) c.*, (c.place / c.activity_count)::int as nth
    from counted as c
    where c.place / c.activity_count between 1 and c.max_times
    order by c.member_id, c.rule, c.period, c.place / c.activity_count, c.place
),
granted as (
    select r.*
    from reached as r
    where not exists (
        select from points.activity_earning as e
        where e.member_id = r.member_id and e.rule = r.rule and e.period = r.period and e.nth = r.nth)
),
summed as (
    select
        g.*, g.rule || '/' || g.period || '/' || g.nth as ref, greatest(CAST(:through AS date), w.last_book) as book_date, w.seq, w.balance,
        w.debt, row_number() over so_far as n, (sum(g.points) over so_far)::bigint as upto
    from granted as g
    inner join points.wallet as w on w.member_id = g.member_id
    window so_far as (partition by g.member_id order by g.happened_at, g.activity_no, g.rule, g.nth rows unbounded preceding)
),
repaid as (
    select
        *, least(debt, upto) as repaid_after, least(debt, upto - points) as repaid_before,
        least(debt, upto) - least(debt, upto - points) as repay
    from summed
),
placed as (
    select
        *, points.journal_of(member_id, 'activity', ref) as journal_id,
        seq + n + (count(*) filter (where repay > 0) over (partition by member_id order by n)) - case when repay > 0 then 1 else 0 end
            as earn_seq
    from repaid
),
posted as (
    insert into points.entry (
        member_id, seq, book_date, effective_on, journal_id, kind, points, lot_seq, lot_remaining_after, balance_after,
        debt_after, usable_from, valid_through, idle_by, policy_version, run_id, source, source_ref)
    select
        member_id, earn_seq, book_date, effective_on, journal_id, 'earn', points, earn_seq, points,
        balance + upto - repaid_before, debt - repaid_before, effective_on + usable_after_days, valid_through, idle_by, version,
        CAST(:run_id AS bigint), 'activity', ref
    from placed
    union all
    select
        member_id, earn_seq + 1, book_date, effective_on, journal_id, 'repay', repay, earn_seq, points - repay,
        balance + upto - repaid_after, debt - repaid_after, null, null, null, version, CAST(:run_id AS bigint), 'activity', ref
    from placed
    where repay > 0
),
keyed as (
    insert into points.posting_key (
        member_id, source, source_ref, request_sha256, journal_id, book_date, first_seq, last_seq)
    select
        member_id, 'activity', ref, sha256(convert_to(ref, 'UTF8')), journal_id, book_date, earn_seq,
        earn_seq + case when repay > 0 then 1 else 0 end
    from placed
),
recorded as (
    insert into points.activity_earning (
        member_id, rule, period, nth, policy_version, bonus, activity_no, points, lot_seq, posted_on)
    select member_id, rule, period, nth, version, position, activity_no, points, earn_seq, CAST(:through AS date)
    from placed
),
done as (
    update points.activity as a set state = 'posted'
    from fresh as f
    where a.activity_no = f.activity_no
    returning 1
)
select (select count(*) from done) as activities
