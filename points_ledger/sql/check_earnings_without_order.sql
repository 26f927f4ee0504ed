-- Points booked for an order are the points the order was judged to earn, in the lot it names.
-- Parameters: none. Locks: none. Idempotence: a read.
select coalesce(e.member_id, x.member_id) as member_id, coalesce(e.source_ref, x.order_no) as order_no,
    format('member_id %s, order %s: booked %s points in lot %s, judged %s in lot %s', coalesce(e.member_id, x.member_id),
        coalesce(e.source_ref, x.order_no), e.points, e.lot_seq, x.points, x.lot_seq) as difference
from (
    select member_id, source_ref, sum(points) as points, min(lot_seq) as lot_seq
    from points.entry where kind = 'earn' and source = 'order'
    group by member_id, source_ref
) as e
full join (select * from points.order_earning where points > 0) as x on x.member_id = e.member_id and x.order_no = e.source_ref
where (e.points, e.lot_seq) is distinct from (x.points, x.lot_seq)
    or not exists (select from points.shop_order as o where o.member_id = x.member_id and o.order_no = x.order_no)
order by 1, 2
