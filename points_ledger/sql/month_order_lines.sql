-- The purchase lines of the orders of month_judgements. Parameters: first, through. Locks: none. Idempotence: a read.
with booked as (
    select distinct member_id, source_ref as order_no
    from points.entry
    where book_date between :first and :through and kind = 'earn' and source = 'order'
)
select l.member_id, l.order_no, l.line_no, l.sku, l.category, l.quantity, l.unit_price
from points.order_line as l
inner join points.order_earning as x on x.member_id = l.member_id and x.order_no = l.order_no
where x.posted_on between :first and :through or (x.member_id, x.order_no) in (select b.member_id, b.order_no from booked as b)
order by l.member_id, l.order_no, l.line_no
