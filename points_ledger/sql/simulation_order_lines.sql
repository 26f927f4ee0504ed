-- The purchase lines of the orders posted up to the end of the period: of an order that has not arrived yet nobody reads
-- them. Parameters: through. Locks: none. Idempotence: a read.
select l.*
from points.order_line as l
inner join points.shop_order as o on o.member_id = l.member_id and o.order_no = l.order_no
left join points.posting_key as k on k.member_id = o.member_id and k.source = 'order' and k.source_ref = o.order_no
left join points.order_earning as x on x.member_id = o.member_id and x.order_no = o.order_no
where not o.is_waiting and coalesce(k.book_date, x.posted_on, o.effective_on) <= :through
