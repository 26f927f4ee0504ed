-- Returns that a month's nights posted, and those booked in it: the quantity that came back against the purchase lines it
-- was taken from and what matched none, and the points taken back against the entries.
-- Parameters: first, through. Locks: none. Idempotence: a read.
with files as (
    select f.file_id, (select min(d.book_date) from points.book_day as d where d.closed_at is null or d.closed_at >= f.imported_at) as night
    from points.feed_file as f where f.feed = 'orders'
),
booked as (
    select source_ref, min(book_date) as book_date, sum(points)::bigint as points
    from points.entry
    where book_date >= :first and kind in ('claw_back', 'owe') and source = 'return'
    group by source_ref
),
taken as (
    select t.member_id, t.return_order_no, t.return_line_no, sum(t.quantity) as quantity, sum(t.points)::bigint as points,
        count(*) filter (where l.sku is distinct from r.sku or (r.original_order_no is not null and t.order_no <> r.original_order_no)
            or t.amount not in (0, t.quantity * l.unit_price)) as misplaced
    from points.returned_line as t
    left join points.order_line as l on l.member_id = t.member_id and l.order_no = t.order_no and l.line_no = t.line_no
    left join points.return_line as r on r.member_id = t.member_id and r.order_no = t.return_order_no and r.line_no = t.return_line_no
    group by t.member_id, t.return_order_no, t.return_line_no
),
said as (
    select r.order_no || '/' || r.line_no as ref, r.quantity, greatest(r.effective_on, f.night) as night, t.points,
        coalesce(t.quantity, 0) as matched, coalesce((n.detail ->> 'unmatched')::numeric, 0) as unmatched, coalesce(t.misplaced, 0) as misplaced
    from points.return_line as r
    inner join points.shop_order as o on o.member_id = r.member_id and o.order_no = r.order_no
    inner join files as f on f.file_id = o.file_id
    left join taken as t on t.member_id = r.member_id and t.return_order_no = r.order_no and t.return_line_no = r.line_no
    left join points.finding as n on n.reason = 'return_without_purchase' and n.feed = 'orders' and n.ref = r.order_no || '/' || r.line_no
)
select
    coalesce(s.ref, b.source_ref) as return_ref, s.night, b.book_date, trim_scale(s.quantity) as quantity, trim_scale(s.matched) as matched,
    trim_scale(s.unmatched) as unmatched, coalesce(s.points, 0) as said, coalesce(b.points, 0) as booked,
    s.ref is not null and s.quantity = s.matched + s.unmatched and s.misplaced = 0 as is_matched
from said as s
full join booked as b on b.source_ref = s.ref
where s.night between :first and :through or b.book_date between :first and :through
order by 1
