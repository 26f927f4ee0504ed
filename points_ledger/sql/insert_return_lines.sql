-- Stores the return lines of the orders that insert_orders took from this file. Parameters: file_id.
-- Locks: the new rows. Idempotence: primary key (member_id, order_no, line_no).
insert into points.return_line (
    member_id, order_no, line_no, sku, quantity, unit_price, original_order_no, placed_at, effective_on)
select
    o.member_id, l.order_no, l.line_no, l.sku, -l.quantity, l.unit_price, l.original_order_no, o.placed_at, o.effective_on
from typed_line as l
inner join points.shop_order as o on o.order_no = l.order_no and o.file_id = :file_id
where l.quantity < 0 and l.unit_price > 0
