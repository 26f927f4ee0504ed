-- Stores the purchase lines of the orders that insert_orders took from this file. Parameters: file_id.
-- Locks: the new rows. Idempotence: primary key (member_id, order_no, line_no).
insert into points.order_line (member_id, order_no, line_no, sku, category, quantity, unit_price)
select o.member_id, l.order_no, l.line_no, l.sku, l.category, l.quantity, l.unit_price
from typed_line as l
inner join points.shop_order as o on o.order_no = l.order_no and o.file_id = :file_id
where l.quantity > 0 and l.unit_price > 0
order by o.member_id, l.order_no, l.line_no
