-- What was recorded of the orders that a month's nights judged, and of those booked in it: amount and lines of the order, and
-- for each line that earned the positions of its rate and multipliers. Parameters: first, through. Locks: none.
-- Idempotence: a read.
with booked as (
    select distinct member_id, source_ref as order_no
    from points.entry
    where book_date between :first and :through and kind = 'earn' and source = 'order'
)
select x.member_id, x.order_no, o.effective_on, o.purchase_lines, o.purchase_amount, x.posted_on, x.policy_version,
    x.eligible_amount, x.exact_points, x.points, x.lines, x.rates, x.multipliers, x.bonuses
from points.order_earning as x
left join points.shop_order as o on o.member_id = x.member_id and o.order_no = x.order_no
where x.posted_on between :first and :through or (x.member_id, x.order_no) in (select b.member_id, b.order_no from booked as b)
order by x.member_id, x.order_no
