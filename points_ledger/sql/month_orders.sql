-- Orders against the ledger, in both directions: those that a month's nights judged, and those booked in it. What each
-- earned is computed again from its lines, the version in force on its day and that version's rules (design 7, Earning);
-- nothing of the recorded judgement is used, but for conditions on a member's groups, birthday month, first order and
-- spending before, which are facts of the moment it was judged in: there a rule applies when the judgement says that it did.
--
-- Parameters: first, through. Locks: none. Idempotence: a read. The tier is the one known when the order was judged.
-- Of days with a cap, the member's other orders of that day are computed too, to see what was left of the cap.
with files as (
    select f.file_id, (select min(d.book_date) from points.book_day as d where d.closed_at is null or d.closed_at >= f.imported_at) as night
    from points.feed_file as f where f.feed = 'orders'
),
booked as materialized (
    select member_id, source_ref as order_no, min(book_date) as book_date, sum(points)::bigint as points
    from points.entry
    where book_date >= :first and kind = 'earn' and source = 'order'
    group by member_id, source_ref
),
orders as materialized (
    select o.member_id, o.order_no, o.placed_at, o.effective_on, o.store, o.channel, o.purchase_amount,
        coalesce(x.posted_on, greatest(o.effective_on, f.night)) as night, x.points as judged, x.lines, x.rates, x.multipliers, x.bonuses
    from points.shop_order as o
    inner join files as f on f.file_id = o.file_id
    left join points.order_earning as x on x.member_id = o.member_id and x.order_no = o.order_no
    where o.purchase_lines > 0
),
asked as materialized (
    select o.member_id, o.order_no from orders as o where o.night between :first and :through
    union
    select b.member_id, b.order_no from booked as b where b.book_date <= :through
),
days as materialized (
    select d.effective_on, v.version, v.daily_cap, coalesce(w.document #>> '{earn,stacking}', 'best') as stacking
    from (select distinct effective_on from orders) as d
    inner join lateral (
        select coalesce(
            (select n.version from points.policy_version as n where n.effective_from <= d.effective_on
                order by n.effective_from desc, n.version desc limit 1),
            (select min(n.version) from points.policy_version as n)) as version
    ) as n on true
    inner join points.policy as v on v.version = n.version
    inner join points.policy_version as w on w.version = n.version
),
judged as materialized (
    select o.*, d.version, d.daily_cap, d.stacking, (
        select coalesce(
            (select t.tier from points.tier_decision as t
                where t.member_id = o.member_id and t.held_from <= o.effective_on and t.decided_on < o.night
                order by t.decision_no desc limit 1),
            (select t.code from points.policy_tier as t where t.version = d.version and t.enter_at <= 0 order by t.rank desc limit 1))
    ) as tier
    from orders as o
    inner join days as d on d.effective_on = o.effective_on
    where (o.member_id, o.order_no) in (select a.member_id, a.order_no from asked as a)
        or (d.daily_cap > 0 and o.night <= :through and (o.member_id, o.effective_on) in (
            select s.member_id, s.effective_on from orders as s
            inner join asked as a on a.member_id = s.member_id and a.order_no = s.order_no))
),
fitting as materialized (
    select j.member_id, j.order_no, j.stacking, l.line_no, l.quantity * l.unit_price as amount, r.kind, r.position, r.amount as worth
    from judged as j
    inner join points.order_line as l on l.member_id = j.member_id and l.order_no = j.order_no
    inner join points.policy_rule as r on r.version = j.version and r.activity is null
    where j.effective_on between coalesce(r.from_on, '-infinity') and coalesce(r.through_on, 'infinity')
        and (r.skus is null or array_position(r.skus, l.sku) is not null)
        and (r.exclude_skus is null or array_position(r.exclude_skus, l.sku) is null)
        and (r.categories is null or array_position(r.categories, l.category) is not null)
        and (r.exclude_categories is null or l.category is null or array_position(r.exclude_categories, l.category) is null)
        and (r.stores is null or array_position(r.stores, j.store) is not null)
        and (r.channels is null or array_position(r.channels, j.channel) is not null)
        and (r.tiers is null or array_position(r.tiers, j.tier) is not null)
        and (r.weekdays is null or array_position(r.weekdays, extract(isodow from j.effective_on)::smallint) is not null)
        and j.purchase_amount >= coalesce(r.min_order_amount, j.purchase_amount)
        and (r.groups is null and r.birthday_month is null and r.first_order is null and r.spent_window is null
            or case r.kind when 'bonus' then array_position(j.bonuses, r.position) is not null
                when 'rate' then j.rates[array_position(j.lines, l.line_no)] = r.position
                else r.position::text = any(string_to_array(j.multipliers[array_position(j.lines, l.line_no)], '+')) end)
),
-- once a line, once an order: joining these with each other would be planned without knowing how many there are
lines as materialized (
    select member_id, order_no, line_no, stacking, amount, (array_agg(worth order by position) filter (where kind = 'rate'))[1] as rate,
        max(worth) filter (where kind = 'multiplier') as best, points.product(worth) filter (where kind = 'multiplier') as product
    from fitting
    where kind <> 'bonus'
    group by member_id, order_no, line_no, stacking, amount
),
exact as materialized (
    select member_id, order_no, sum(amount) as eligible,
        sum(amount * rate * case stacking when 'multiply' then product else coalesce(best, 1) end) as points
    from lines
    where rate is not null
    group by member_id, order_no
),
bonuses as (
    select member_id, order_no, sum(worth) as points
    from (select distinct member_id, order_no, position, worth from fitting where kind = 'bonus') as once
    group by member_id, order_no
),
uncapped as (
    select j.*, coalesce(e.eligible, 0) as eligible, coalesce(e.points, 0) as exact,
        floor(coalesce(e.points, 0)) + coalesce(b.points, 0) as points
    from judged as j
    left join exact as e on e.member_id = j.member_id and e.order_no = j.order_no
    left join bonuses as b on b.member_id = j.member_id and b.order_no = j.order_no
),
recomputed as (
    select u.*, case when daily_cap > 0
        then least(daily_cap, sum(points) over so_far) - least(daily_cap, sum(points) over so_far - points) else points end::bigint as granted
    from uncapped as u
    window so_far as (partition by member_id, effective_on order by night, placed_at, order_no rows unbounded preceding)
)
select
    coalesce(r.order_no, b.order_no) as order_no, r.effective_on, r.night, b.book_date, r.version,
    trim_scale(r.eligible) as eligible, trim_scale(r.exact) as exact, coalesce(r.granted, 0) as recomputed, r.judged, coalesce(b.points, 0) as booked
from recomputed as r
full join (select * from booked where book_date <= :through or (member_id, order_no) in (select member_id, order_no from asked)) as b
    on b.member_id = r.member_id and b.order_no = r.order_no
where r.order_no is null or (r.member_id, r.order_no) in (select member_id, order_no from asked)
order by 1
