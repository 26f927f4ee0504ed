-- Stores the accepted orders of a file, as waiting events. Parameters: file_id, zone.
-- Locks: the new rows. Idempotence: unique order_no; the caller has set known orders aside.
insert into points.shop_order (
    member_id, order_no, placed_at, effective_on, store, channel, purchase_amount, purchase_lines, return_lines, fingerprint,
    file_id, is_waiting)
select
    m.member_id, o.order_no, o.placed_at, o.effective_on, o.store, o.channel, o.purchase_amount,
    o.purchase_lines, o.return_lines, o.fingerprint, :file_id, true
from typed_order as o
inner join points.member as m on m.member_no = o.member_no
where o.reason is null and o.is_known is not true
