-- The control total of an orders file: every row and its money is accepted, rejected or skipped. Parameters: none.
-- Money is quantity x unit price with its sign; a row that cannot be read has none.
select
    case
        when o.reason is not null then 'rejected'
        when l.member_no is null or o.is_known or l.quantity = 0 or l.unit_price <= 0 then 'skipped'
        else 'accepted'
    end as fate,
    case
        when o.reason is not null then coalesce(l.reason, o.reason)
        when l.member_no is null then 'guest'
        when o.is_known then 'already_imported'
        when l.quantity = 0 or l.unit_price <= 0 then 'no_money'
        when l.quantity > 0 then 'purchase'
        else 'return'
    end as reason,
    count(*) as lines,
    coalesce(sum(l.amount), 0) as money
from typed_line as l
inner join typed_order as o on o.order_no = l.order_no
group by 1, 2
