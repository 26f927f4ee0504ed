-- Posts the purchases of some members' waiting orders: design 7, Earning.
--
-- Parameters: members (bigint[], wallets locked by the caller), through (date: the open business date), run_id.
-- Locks: none of its own. Idempotence: an order leaves is_waiting in the same statement, and its posting_key is unique.
-- Judges each order by the policy version of its effective date; the first matching rate and the best multiplier
-- apply to each line; order points = floor(sum); then the daily cap; then debt is repaid from the new lot.
with due as (
    select
        o.member_id, o.order_no, o.placed_at, o.effective_on, o.store, o.channel, o.purchase_amount, o.fingerprint,
        p.version, p.daily_cap, p.usable_after_days, p.expiry_basis, p.expiry_months, p.round_up_to, p.month_day
    from points.shop_order as o
    inner join (select distinct effective_on, points.version_on(effective_on) as version from points.shop_order
        where is_waiting and effective_on <= :through) as day on day.effective_on = o.effective_on
    inner join points.policy as p on p.version = day.version
    where o.is_waiting and o.effective_on <= :through and o.member_id = any(:members) and o.purchase_lines > 0
),
judged as (
    select
        d.member_id, d.order_no, l.line_no, l.quantity * l.unit_price as amount,
        rate.position as rate, rate.amount as points_per_unit,
        coalesce(multiplier.position, 0) as multiplier, coalesce(multiplier.amount, 1) as factor
    from due as d
    inner join points.order_line as l on l.member_id = d.member_id and l.order_no = d.order_no
    cross join lateral (
        select r.position, r.amount from points.policy_rule as r
        where r.version = d.version and r.kind = 'rate'
            and (r.from_on is null or r.from_on <= d.effective_on) and (r.through_on is null or d.effective_on <= r.through_on)
            and (r.skus is null or l.sku = any(r.skus)) and (r.exclude_skus is null or l.sku <> all(r.exclude_skus))
            and (r.categories is null or l.category = any(r.categories))
            and (r.stores is null or d.store = any(r.stores)) and (r.channels is null or d.channel = any(r.channels))
            and (r.weekdays is null or extract(isodow from d.effective_on) = any(r.weekdays))
            and (r.min_order_amount is null or d.purchase_amount >= r.min_order_amount)
        order by r.position limit 1
    ) as rate
    left join lateral (
        select r.position, r.amount from points.policy_rule as r
        where r.version = d.version and r.kind = 'multiplier'
            and (r.from_on is null or r.from_on <= d.effective_on) and (r.through_on is null or d.effective_on <= r.through_on)
            and (r.skus is null or l.sku = any(r.skus)) and (r.exclude_skus is null or l.sku <> all(r.exclude_skus))
            and (r.categories is null or l.category = any(r.categories))
            and (r.stores is null or d.store = any(r.stores)) and (r.channels is null or d.channel = any(r.channels))
            and (r.weekdays is null or extract(isodow from d.effective_on) = any(r.weekdays))
            and (r.min_order_amount is null or d.purchase_amount >= r.min_order_amount)
        order by r.amount desc, r.position limit 1
    ) as multiplier on true
),
counted as (
    select
        member_id, order_no, sum(amount) as eligible_amount, sum(amount * points_per_unit * factor) as exact_points,
        array_agg(line_no order by line_no) as lines, array_agg(rate order by line_no) as rates,
        array_agg(multiplier order by line_no) as multipliers
    from judged
    group by member_id, order_no
),
uncapped as (
    select
        d.*, c.lines, c.rates, c.multipliers, coalesce(c.eligible_amount, 0) as eligible_amount,
        coalesce(c.exact_points, 0) as exact_points, coalesce(floor(c.exact_points), 0)::bigint as uncapped_points,
        case when d.daily_cap > 0 then (
            select coalesce(sum(e.points), 0) from points.shop_order as x
            inner join points.order_earning as e on e.member_id = x.member_id and e.order_no = x.order_no
            where x.member_id = d.member_id and x.effective_on = d.effective_on) end as earned_that_day
    from due as d
    left join counted as c on c.member_id = d.member_id and c.order_no = d.order_no
),
granted as (
    select
        *,
        case when daily_cap = 0 then uncapped_points
            else least(daily_cap, earned_that_day + sum(uncapped_points) over day_so_far)
                - least(daily_cap, earned_that_day + sum(uncapped_points) over day_so_far - uncapped_points) end::bigint as points
    from uncapped
    window day_so_far as (partition by member_id, effective_on order by placed_at, order_no)
),
summed as (
    select
        g.*, greatest(CAST(:through AS date), w.last_book) as book_date, w.seq, w.balance, w.debt,
        row_number() over so_far as n, (sum(g.points) over so_far)::bigint as upto
    from granted as g
    inner join points.wallet as w on w.member_id = g.member_id
    where g.points > 0
    window so_far as (partition by g.member_id order by g.placed_at, g.order_no)
),
repaid as (
    select
        *, least(debt, upto) as repaid_after, least(debt, upto - points) as repaid_before,
        least(debt, upto) - least(debt, upto - points) as repay
    from summed
),
placed as (
    select
        *, points.journal_of(member_id, 'order', order_no) as journal_id,
        seq + n + (count(*) filter (where repay > 0) over (partition by member_id order by n rows unbounded preceding))
            - case when repay > 0 then 1 else 0 end as earn_seq
    from repaid
),
posted as (
    insert into points.entry (
        member_id, seq, book_date, effective_on, journal_id, kind, points, lot_seq, lot_remaining_after, balance_after,
        debt_after, usable_from, valid_through, policy_version, run_id, source, source_ref)
    select
        member_id, earn_seq, book_date, effective_on, journal_id, 'earn', points, earn_seq, points,
        balance + upto - repaid_before, debt - repaid_before, effective_on + usable_after_days,
        points.valid_through(effective_on, expiry_basis, expiry_months, round_up_to, month_day), version,
        CAST(:run_id AS bigint), 'order', order_no
    from placed
    union all
    select
        member_id, earn_seq + 1, book_date, effective_on, journal_id, 'repay', repay, earn_seq, points - repay,
        balance + upto - repaid_after, debt - repaid_after, null, null, version, CAST(:run_id AS bigint), 'order', order_no
    from placed
    where repay > 0
    returning points, kind
),
keyed as (
    insert into points.posting_key (
        member_id, source, source_ref, request_sha256, journal_id, book_date, first_seq, last_seq)
    select
        member_id, 'order', order_no, fingerprint, journal_id, book_date, earn_seq,
        earn_seq + case when repay > 0 then 1 else 0 end
    from placed
),
recorded as (
    insert into points.order_earning (
        member_id, order_no, policy_version, eligible_amount, exact_points, points, lot_seq, lines, rates, multipliers)
    select
        g.member_id, g.order_no, g.version, g.eligible_amount, g.exact_points, g.points, p.earn_seq,
        coalesce(g.lines, '{}'), coalesce(g.rates, '{}'), coalesce(g.multipliers, '{}')
    from granted as g
    left join placed as p on p.member_id = g.member_id and p.order_no = g.order_no
),
done as (
    update points.shop_order as o
    set is_waiting = false
    where o.is_waiting and o.effective_on <= :through and o.member_id = any(:members)
    returning 1
)
select
    (select count(*) from done) as orders,
    coalesce((select sum(p.points) from posted as p where p.kind = 'earn'), 0)::bigint as points
