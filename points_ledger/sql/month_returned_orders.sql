-- Orders with a return of a month: the points to be taken back in total, computed again from what came back
-- (design 7, Returns), against what was taken. Parameters: first, through. Locks: none. Idempotence: a read.
-- What was refunded decides, not in which steps; a lot that lapsed leaves less to take, unless it was taken before.
-- `expected` is exact where the order's version takes debt, and the most that may be taken where it does not.
with files as (
    select f.file_id, (select min(d.book_date) from points.book_day as d where d.closed_at is null or d.closed_at >= f.imported_at) as night
    from points.feed_file as f where f.feed = 'orders'
),
parts as (
    select t.member_id, t.order_no, t.return_order_no || '/' || t.return_line_no as ref, t.points,
        case when t.line_no = any(x.lines) then t.quantity * l.unit_price else 0 end as amount, greatest(r.effective_on, f.night) as night
    from points.returned_line as t
    inner join points.return_line as r on r.member_id = t.member_id and r.order_no = t.return_order_no and r.line_no = t.return_line_no
    inner join points.shop_order as o on o.member_id = r.member_id and o.order_no = r.order_no
    inner join files as f on f.file_id = o.file_id
    inner join points.order_earning as x on x.member_id = t.member_id and x.order_no = t.order_no
    inner join points.order_line as l on l.member_id = t.member_id and l.order_no = t.order_no and l.line_no = t.line_no
),
touched as (
    select p.member_id, p.order_no, sum(p.amount) as refunded, sum(p.points)::bigint as taken
    from parts as p
    where p.night <= :through
    group by p.member_id, p.order_no
    having max(p.night) >= :first
),
lapsed as (
    select t.member_id, t.order_no, e.seq, e.points
    from touched as t
    inner join points.order_earning as x on x.member_id = t.member_id and x.order_no = t.order_no
    inner join points.entry as e on e.member_id = x.member_id and e.lot_seq = x.lot_seq and e.kind = 'expire' and e.book_date <= :through
),
before as (
    -- what returns that were booked before the lot lapsed had taken
    select l.member_id, l.order_no, sum(p.points) as taken
    from lapsed as l
    inner join parts as p on p.member_id = l.member_id and p.order_no = l.order_no and p.night <= :through
    inner join points.posting_key as k on k.member_id = p.member_id and k.source = 'return' and k.source_ref = p.ref and k.first_seq < l.seq
    group by l.member_id, l.order_no
)
select
    t.order_no, x.points as granted, trim_scale(x.eligible_amount) as eligible, trim_scale(t.refunded) as refunded, coalesce(l.points, 0) as lapsed,
    coalesce(b.taken, 0)::bigint as taken_before,
    case when x.points = 0 or x.eligible_amount <= 0 then 0 else greatest(coalesce(b.taken, 0), least(
        case when t.refunded >= x.eligible_amount then x.points else floor(x.points * t.refunded / x.eligible_amount) end,
        x.points - coalesce(l.points, 0))) end::bigint as expected,
    t.taken, p.refund_policy = 'debt' as is_exact
from touched as t
inner join points.order_earning as x on x.member_id = t.member_id and x.order_no = t.order_no
inner join points.policy as p on p.version = x.policy_version
left join lapsed as l on l.member_id = t.member_id and l.order_no = t.order_no
left join before as b on b.member_id = t.member_id and b.order_no = t.order_no
order by t.order_no
