-- Every order with purchases that no longer waits was judged.
-- Parameters: none. Locks: none. Idempotence: a read.
select o.member_id, o.order_no, format('member_id %s, order %s of %s: was never judged', o.member_id, o.order_no, o.effective_on) as difference
from points.shop_order as o
where not o.is_waiting and o.purchase_lines > 0 and not exists (
    select from points.order_earning as x where x.member_id = o.member_id and x.order_no = o.order_no)
order by 1, 2
