-- Posts the purchases of some members' waiting orders: design 7, Earning.
--
-- Parameters: members (bigint[], wallets locked by the caller), through (date: the open business date), run_id.
-- Locks: none of its own. Idempotence: an order leaves is_waiting in the same statement, and its posting_key is unique.
-- Judges each order by the policy version of its effective date and the tier held on it; the first matching rate and
-- the best (or the product of) matching multipliers apply to each line; order points = floor(sum), plus bonuses, then
-- the daily cap; then debt is repaid from the new lot.
with due as (
    select
        o.member_id, o.order_no, o.placed_at, o.effective_on, o.store, o.channel, o.purchase_amount, o.fingerprint,
        p.version, p.stacking, p.needs_multiplier, p.needs_bonus, p.daily_cap, p.usable_after_days, p.valid_through, p.idle_by, m.groups,
        left(m.birthday_md, 2)::int = extract(month from o.effective_on) as is_birthday_month,
        case when p.needs_tier then points.tier_on(o.member_id, o.effective_on) end as tier,
        case when p.needs_first_order then not exists (
            select from points.shop_order as f
            where f.member_id = o.member_id and f.purchase_lines > 0 and (f.placed_at, f.order_no) < (o.placed_at, o.order_no)
        ) end as is_first_order
    from points.shop_order as o
    inner join points.member as m on m.member_id = o.member_id
    inner join (
        -- once a day, not once an order: the version in force, and how long its points live
        select day.effective_on, v.version, v.daily_cap, v.usable_after_days, d.document #>> '{earn,stacking}' as stacking,
            n.multipliers as needs_multiplier, n.bonuses as needs_bonus, n.tiers as needs_tier, n.first_order as needs_first_order,
            points.valid_through(day.effective_on, v.expiry_basis, v.expiry_months, v.round_up_to, v.month_day) as valid_through,
            case when v.idle_months is not null then v.version end as idle_by
        from (
            select x.effective_on, points.version_on(x.effective_on) as version
            from points.shop_order as x
            where x.is_waiting and x.effective_on <= :through and x.member_id = any(:members)
            group by x.effective_on
        ) as day
        inner join points.policy as v on v.version = day.version
        inner join points.policy_version as d on d.version = day.version
        inner join points.policy_needs as n on n.version = day.version
        offset 0
    ) as p on p.effective_on = o.effective_on
    where o.is_waiting and o.effective_on <= :through and o.member_id = any(:members) and o.purchase_lines > 0
),
bonuses as (
    -- once an order, when any of its lines fits
    select d.member_id, d.order_no, array_agg(r.position order by r.position) as bonuses, sum(r.amount)::bigint as points
    from due as d
    inner join points.policy_rule as r on r.version = d.version and r.kind = 'bonus'
    where d.needs_bonus and exists (
        select from points.order_line as l
        where l.member_id = d.member_id and l.order_no = d.order_no and points.rule_fits(r, l.sku, l.category, d.store, d.channel,
            d.effective_on, d.purchase_amount, d.tier, d.groups, d.is_first_order, d.is_birthday_month))
    group by d.member_id, d.order_no
),
uncapped as (
    select
        d.*, c.lines, c.rates, c.multipliers, coalesce(c.eligible_amount, 0) as eligible_amount,
        coalesce(c.exact_points, 0) as exact_points,
        coalesce(floor(c.exact_points), 0)::bigint + coalesce(b.points, 0) as uncapped_points, coalesce(b.bonuses, '{}') as bonuses,
        case when d.daily_cap > 0 then (
            select coalesce(sum(e.points), 0) from points.shop_order as x
            inner join points.order_earning as e on e.member_id = x.member_id and e.order_no = x.order_no
            where x.member_id = d.member_id and x.effective_on = d.effective_on) end as earned_that_day
    from due as d
    -- order by order through the key of its lines: fresh tables have no statistics to plan a join by
    cross join lateral (
        select
            sum(l.amount) as eligible_amount, sum(l.amount * rate.amount * multiplier.factor) as exact_points,
            array_agg(l.line_no order by l.line_no) as lines, array_agg(rate.position order by l.line_no) as rates,
            array_agg(multiplier.positions order by l.line_no) as multipliers
        from (
            select x.line_no, x.sku, x.category, x.quantity * x.unit_price as amount
            from points.order_line as x
            where x.member_id = d.member_id and x.order_no = d.order_no
            offset 0
        ) as l
        cross join lateral (
            select r.position, r.amount from points.policy_rule as r
            where r.version = d.version and r.kind = 'rate' and points.rule_fits(r, l.sku, l.category, d.store, d.channel,
                d.effective_on, d.purchase_amount, d.tier, d.groups, d.is_first_order, d.is_birthday_month)
            order by r.position limit 1
        ) as rate
        cross join lateral (
            -- the first branch that yields a row is the answer; a version without multipliers goes straight to the last
            (
                select r.position::text as positions, r.amount as factor
                from points.policy_rule as r
                where d.needs_multiplier and d.stacking = 'best' and r.version = d.version and r.kind = 'multiplier'
                    and points.rule_fits(r, l.sku, l.category, d.store, d.channel,
                        d.effective_on, d.purchase_amount, d.tier, d.groups, d.is_first_order, d.is_birthday_month)
                order by r.amount desc, r.position limit 1
            )
            union all
            (
                select string_agg(r.position::text, '+' order by r.position), points.product(r.amount)
                from points.policy_rule as r
                where d.needs_multiplier and d.stacking = 'multiply' and r.version = d.version and r.kind = 'multiplier'
                    and points.rule_fits(r, l.sku, l.category, d.store, d.channel,
                        d.effective_on, d.purchase_amount, d.tier, d.groups, d.is_first_order, d.is_birthday_month)
                having count(*) > 0
            )
            union all
            select '0', 1
            limit 1
        ) as multiplier
    ) as c
    left join bonuses as b on b.member_id = d.member_id and b.order_no = d.order_no
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
        count(*) filter (where g.points > 0) over so_far as n, (sum(g.points) over so_far)::bigint as upto
    from granted as g
    inner join points.wallet as w on w.member_id = g.member_id
    window so_far as (partition by g.member_id order by g.placed_at, g.order_no rows unbounded preceding)
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
        seq + n + (count(*) filter (where repay > 0) over (partition by member_id order by placed_at, order_no rows unbounded preceding))
            - case when repay > 0 then 1 else 0 end as earn_seq
    from repaid
),
posted as (
    insert into points.entry (
        member_id, seq, book_date, effective_on, journal_id, kind, points, lot_seq, lot_remaining_after, balance_after,
        debt_after, usable_from, valid_through, idle_by, policy_version, run_id, source, source_ref)
    select
        member_id, earn_seq, book_date, effective_on, journal_id, 'earn', points, earn_seq, points,
        balance + upto - repaid_before, debt - repaid_before, effective_on + usable_after_days, valid_through, idle_by, version,
        CAST(:run_id AS bigint), 'order', order_no
    from placed
    where points > 0
    union all
    select
        member_id, earn_seq + 1, book_date, effective_on, journal_id, 'repay', repay, earn_seq, points - repay,
        balance + upto - repaid_after, debt - repaid_after, null, null, null, version, CAST(:run_id AS bigint), 'order', order_no
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
    where points > 0
),
recorded as (
    insert into points.order_earning (
        member_id, order_no, policy_version, eligible_amount, exact_points, points, lot_seq, lines, rates, multipliers,
        bonuses, posted_on)
    select
        member_id, order_no, version, eligible_amount, exact_points, points, case when points > 0 then earn_seq end,
        coalesce(lines, '{}'), coalesce(rates, '{}'), coalesce(multipliers, '{}'), bonuses, CAST(:through AS date)
    from placed
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
