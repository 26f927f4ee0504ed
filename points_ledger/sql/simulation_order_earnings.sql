-- What the orders posted before the period earned. Parameters: first. Locks: none. Idempotence: a read.
select x.*
from points.order_earning as x
inner join points.shop_order as o on o.member_id = x.member_id and o.order_no = x.order_no
left join points.posting_key as k on k.member_id = o.member_id and k.source = 'order' and k.source_ref = o.order_no
where coalesce(k.book_date, x.posted_on, o.effective_on) < :first
