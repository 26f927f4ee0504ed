-- Posts the purchases of some members' waiting orders: design 7, Earning.
--
-- Parameters: members (bigint[], wallets locked by the caller), through (date: the open business date), run_id.
-- Locks: none of its own. Idempotence: an order leaves is_waiting in the same statement, and its posting_key is unique.
-- Judges each order by the policy version of its effective date and the tier held on it; the first matching rate and
-- the best (or the product of) matching multipliers apply to each line; order points = floor(sum), plus bonuses, then
-- the daily cap; then debt is repaid from the new lot.
--
-- What a condition asks of the order is judged once for an order and rule. Lines of an order differ only in which rules
-- name their sku or category: an order without such a line is judged whole, the others line by line, by classes whose
-- outcomes are worked out once. Fresh tables have no statistics: `offset 0` keeps the planner on the keys, and the three
-- classes are one number because it takes three conditions for next to no rows.
with waiting as materialized (
    select o.*
    from unnest(CAST(:members AS bigint [])) as chosen (member_id)
    cross join lateral (
        select x.member_id, x.order_no, x.placed_at, x.effective_on, x.store, x.channel, x.purchase_amount, x.fingerprint
        from points.shop_order as x
        where x.member_id = chosen.member_id and x.is_waiting and x.effective_on <= :through and x.purchase_lines > 0
        offset 0
    ) as o
),
terms as materialized (
    -- once a day, not once an order: the version in force, and how long its points live
    select day.effective_on, v.version, v.daily_cap, v.usable_after_days, d.document #>> '{earn,stacking}' as stacking,
        n.tiers as needs_tier, n.first_order as needs_first_order, n.spent_windows,
        case when n.tiers then points.tier_on(null, day.effective_on) end as tier_of_all,
        points.valid_through(day.effective_on, v.expiry_basis, v.expiry_months, v.round_up_to, v.month_day) as valid_through,
        case when v.idle_months is not null then v.version end as idle_by
    from (
        select x.effective_on, points.version_on(x.effective_on) as version
        from (select distinct effective_on from waiting) as x
        offset 0
    ) as day
    inner join points.policy as v on v.version = day.version
    inner join points.policy_version as d on d.version = day.version
    inner join points.policy_needs as n on n.version = day.version
),
rules as materialized (
    select r.*, (row_number() over (partition by r.version order by r.kind, r.position))::int as rule_no
    from points.policy_rule as r
    where r.version in (select version from terms) and r.activity is null
),
-- the rules that name a sku or a category: its number when it is on the rule's list, minus that when it is excluded
named_skus as materialized (
    select version, sku, dense_rank() over (order by by_rules) as class, by_rules
    from (
        select named.version, named.sku, array_agg(named.rule_no order by named.rule_no) as by_rules
        from (
            select r.version, r.rule_no, s.sku from rules as r cross join lateral unnest(r.skus) as s (sku)
            union
            select r.version, -r.rule_no, s.sku from rules as r cross join lateral unnest(r.exclude_skus) as s (sku)
        ) as named
        group by named.version, named.sku
    ) as lists
),
named_categories as materialized (
    select version, category, dense_rank() over (order by by_rules) as class, by_rules
    from (
        select named.version, named.category, array_agg(named.rule_no order by named.rule_no) as by_rules
        from (
            select r.version, r.rule_no, c.category from rules as r cross join lateral unnest(r.categories) as c (category)
            union
            select r.version, -r.rule_no, c.category from rules as r cross join lateral unnest(r.exclude_categories) as c (category)
        ) as named
        group by named.version, named.category
    ) as lists
),
first_orders as materialized (
    select chosen.member_id, f.placed_at, f.order_no
    from unnest(CAST(:members AS bigint [])) as chosen (member_id)
    cross join lateral (
        select x.placed_at, x.order_no from points.shop_order as x
        where x.member_id = chosen.member_id and x.purchase_lines > 0
        order by x.placed_at, x.order_no limit 1
    ) as f
    where exists (select from terms where needs_first_order)
),
judged as (
    select w.*, t.version, t.stacking, t.daily_cap, t.usable_after_days, t.valid_through, t.idle_by, array(
        select r.rule_no
        from rules as r
        where r.version = t.version
            and (r.from_on is null or r.from_on <= w.effective_on) and (r.through_on is null or w.effective_on <= r.through_on)
            and (r.stores is null or w.store = any(r.stores)) and (r.channels is null or w.channel = any(r.channels))
            and (r.weekdays is null or extract(isodow from w.effective_on) = any(r.weekdays))
            and (r.min_order_amount is null or w.purchase_amount >= r.min_order_amount)
            and (r.tiers is null or facts.tier = any(r.tiers)) and (r.groups is null or r.groups && m.groups)
            and (r.first_order is null or r.first_order = facts.is_first_order)
            and (r.spent_window is null or facts.spent[array_position(t.spent_windows, r.spent_window)] >= coalesce(r.spent_from, 0))
            and (r.spent_below is null or facts.spent[array_position(t.spent_windows, r.spent_window)] < r.spent_below)
            and (r.birthday_month is null
                or r.birthday_month = coalesce(left(m.birthday_md, 2)::int = extract(month from w.effective_on), false))
    ) as fitting
    from waiting as w
    inner join terms as t on t.effective_on = w.effective_on
    inner join points.member as m on m.member_id = w.member_id
    left join first_orders as f on f.member_id = w.member_id
    cross join lateral (
        select
            case when t.needs_tier then coalesce((
                select h.tier from points.tier_decision as h
                where h.member_id = w.member_id and h.held_from <= w.effective_on
                order by h.decision_no desc limit 1), t.tier_of_all) end as tier,
            (w.placed_at, w.order_no) = (f.placed_at, f.order_no) as is_first_order,
            -- for each window: what orders placed before bought, less what was given back on days before
            case when t.spent_windows is not null then array(
                select greatest(0, bought.amount - given_back.amount)
                from unnest(t.spent_windows) with ordinality as s (period, place)
                cross join lateral points.window_from(s.period, w.effective_on, m.joined_on) as since
                cross join lateral (
                    select coalesce(sum(x.purchase_amount), 0) as amount from points.shop_order as x
                    where x.member_id = w.member_id and x.effective_on >= since and (x.placed_at, x.order_no) < (w.placed_at, w.order_no)
                ) as bought
                cross join lateral (
                    select coalesce(sum(r.quantity * l.unit_price), 0) as amount
                    from points.return_line as b
                    inner join points.returned_line as r
                        on r.member_id = b.member_id and r.return_order_no = b.order_no and r.return_line_no = b.line_no
                    inner join points.order_line as l
                        on l.member_id = r.member_id and l.order_no = r.order_no and l.line_no = r.line_no
                    where b.member_id = w.member_id and b.effective_on >= since and b.effective_on < w.effective_on
                ) as given_back
                order by s.place
            ) end as spent
        offset 0
    ) as facts
),
due as materialized (
    select *, row_number() over () as place, dense_rank() over (order by version, fitting) as class from judged
),
outcomes as materialized (
    -- what a line earns: by the class of its order, of its sku and of its category
    select (o.class << 40) | (s.class << 20) | c.class as classes, got.*
    from (select distinct class, version, stacking, fitting from due) as o
    inner join (
        select distinct version, class, by_rules from named_skus union all select distinct version, 0::bigint, '{}'::int [] from terms
    ) as s on s.version = o.version
    inner join (
        select distinct version, class, by_rules from named_categories union all select distinct version, 0::bigint, '{}'::int [] from terms
    ) as c on c.version = o.version
    cross join lateral (
        select
            (array_agg(f.position order by f.position) filter (where f.kind = 'rate'))[1] as rate,
            (array_agg(f.amount order by f.position) filter (where f.kind = 'rate'))[1]
                * case o.stacking when 'best' then coalesce(max(f.amount) filter (where f.kind = 'multiplier'), 1)
                    else points.product(f.amount) filter (where f.kind = 'multiplier') end as points_per_unit,
            coalesce(case o.stacking
                when 'best' then ((array_agg(f.position order by f.amount desc, f.position) filter (where f.kind = 'multiplier'))[1])::text
                else string_agg(f.position::text, '+' order by f.position) filter (where f.kind = 'multiplier') end, '0') as multipliers,
            bit_or(set_bit(repeat('0', f.bonuses)::varbit, f.position - 1, 1)) filter (where f.kind = 'bonus') as bonuses
        from (
            select r.kind, r.position, r.amount, (select max(b.position)::int from rules as b where b.version = o.version and b.kind = 'bonus') as bonuses
            from rules as r
            where r.version = o.version and r.rule_no = any(o.fitting)
                and (r.skus is null or r.rule_no = any(s.by_rules)) and -r.rule_no <> all(s.by_rules)
                and (r.categories is null or r.rule_no = any(c.by_rules)) and -r.rule_no <> all(c.by_rules)
        ) as f
    ) as got
),
read as materialized (
    select d.place, d.member_id, d.order_no, d.version, d.class, d.purchase_amount, l.lines, l.is_named
    from due as d
    cross join lateral (
        select
            array_agg(x.line_no order by x.line_no) as lines,
            bool_or(x.sku in (select sku from named_skus) or x.category collate "C" in (select category from named_categories)) as is_named
        from points.order_line as x
        where x.member_id = d.member_id and x.order_no = d.order_no
    ) as l
),
named_lines as (
    select r.place, l.line_no, l.amount, (r.class << 40) | (coalesce(s.class, 0) << 20) | coalesce(c.class, 0) as classes
    from read as r
    cross join lateral (
        select x.line_no, x.sku, x.category, x.quantity * x.unit_price as amount
        from points.order_line as x
        where x.member_id = r.member_id and x.order_no = r.order_no
        offset 0
    ) as l
    left join named_skus as s on s.version = r.version and s.sku = l.sku
    left join named_categories as c on c.version = r.version and c.category = l.category collate "C"
    where r.is_named
    offset 0
),
earned as (
    select
        r.place, case when x.rate is not null then r.purchase_amount end as eligible_amount,
        r.purchase_amount * x.points_per_unit as exact_points, case when x.rate is not null then r.lines end as lines,
        case when x.rate is not null then array_fill(x.rate, array[cardinality(r.lines)]) end as rates,
        case when x.rate is not null then array_fill(x.multipliers, array[cardinality(r.lines)]) end as multipliers, x.bonuses
    from read as r
    inner join outcomes as x on x.classes = r.class << 40
    where r.is_named is not true
    union all
    select
        l.place, sum(l.amount) filter (where x.rate is not null) as eligible_amount, sum(l.amount * x.points_per_unit) as exact_points,
        array_agg(l.line_no order by l.line_no) filter (where x.rate is not null) as lines,
        array_agg(x.rate order by l.line_no) filter (where x.rate is not null) as rates,
        array_agg(x.multipliers order by l.line_no) filter (where x.rate is not null) as multipliers, bit_or(x.bonuses) as bonuses
    from named_lines as l
    inner join outcomes as x on x.classes = l.classes
    group by l.place
),
uncapped as (
    select
        d.*, e.lines, e.rates, e.multipliers, coalesce(e.eligible_amount, 0) as eligible_amount,
        coalesce(e.exact_points, 0) as exact_points, coalesce(b.bonuses, '{}') as bonuses,
        coalesce(floor(e.exact_points), 0)::bigint + coalesce(b.points, 0) as uncapped_points,
        case when d.daily_cap > 0 then (
            select coalesce(sum(x.points), 0) from points.shop_order as o
            inner join points.order_earning as x on x.member_id = o.member_id and x.order_no = o.order_no
            where o.member_id = d.member_id and o.effective_on = d.effective_on) end as earned_that_day
    from due as d
    inner join earned as e on e.place = d.place
    left join lateral (
        select array_agg(r.position order by r.position) as bonuses, sum(r.amount)::bigint as points
        from rules as r
        where e.bonuses is not null and r.version = d.version and r.kind = 'bonus' and get_bit(e.bonuses, r.position - 1) = 1
    ) as b on true
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
