-- An order has the lines and the amount it came with.
-- Parameters: none. Locks: none. Idempotence: a read.
select o.member_id, o.order_no, format('member_id %s, order %s: came with %s purchase lines of %s and %s return lines, has %s of %s and %s',
    o.member_id, o.order_no, o.purchase_lines, trim_scale(o.purchase_amount), o.return_lines, coalesce(l.n, 0),
    trim_scale(coalesce(l.amount, 0)), coalesce(r.n, 0)) as difference
from points.shop_order as o
left join (
    select member_id, order_no, count(*) as n, sum(quantity * unit_price) as amount from points.order_line group by member_id, order_no
) as l on l.member_id = o.member_id and l.order_no = o.order_no
left join (select member_id, order_no, count(*) as n from points.return_line group by member_id, order_no) as r
    on r.member_id = o.member_id and r.order_no = o.order_no
where (o.purchase_lines, o.purchase_amount, o.return_lines) is distinct from (coalesce(l.n, 0), coalesce(l.amount, 0), coalesce(r.n, 0))
order by 1, 2
