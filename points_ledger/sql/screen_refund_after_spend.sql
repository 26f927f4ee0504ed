-- Members who spend the points of orders and then return the orders, again and again. Of an order that earned E, of which
-- S is spent or given away and R refunded, max(0, S + R - E) were spent although they were refunded. Design 2.9.
-- Parameters: day, refund_days, refunds_after_spend (orders), refund_share (of what was refunded), refund_min
-- (points). Locks: none. Idempotence: a read; costs the members with a return that day.
select
    m.member_no as subject, m.member_id,
    jsonb_build_object('orders', rings.orders, 'points', rings.points, 'refunded', rings.refunded, 'order_nos',
        to_jsonb(rings.order_nos)) as facts
from (
    select e.member_id from points.entry as e where e.book_date = CAST(:day AS date) and e.source = 'return'
    union
    select l.member_id from points.return_line as l where l.effective_on = CAST(:day AS date) and not l.is_waiting
) as returning_members
cross join lateral (
    select
        count(*) filter (where o.kept > 0) as orders, sum(o.kept)::bigint as points, sum(o.refunded)::bigint as refunded,
        array_agg(o.order_no order by o.order_no) filter (where o.kept > 0) as order_nos
    from (
        select g.order_no, refund.points as refunded, greatest(0, spent.points + refund.points - g.points) as kept
        from (
            select r.order_no, sum(r.amount) as amount
            from points.returned_line as r
            inner join points.return_line as l
                on l.member_id = r.member_id and l.order_no = r.return_order_no and l.line_no = r.return_line_no
            where r.member_id = returning_members.member_id and l.effective_on <= CAST(:day AS date)
                and l.effective_on > CAST(:day AS date) - CAST(:refund_days AS int)
            group by r.order_no
        ) as back
        inner join points.order_earning as g
            on g.member_id = returning_members.member_id and g.order_no = back.order_no and g.points > 0 and g.eligible_amount > 0
        cross join lateral (select least(g.points, floor(g.points * back.amount / g.eligible_amount)) as points) as refund
        cross join lateral (
            select coalesce(sum(-e.sign * e.points), 0) as points
            from points.entry as e
            where e.member_id = g.member_id and e.lot_seq = g.lot_seq
                and e.book_date between g.posted_on and CAST(:day AS date)
                and e.kind in ('spend', 'spend_reversal', 'transfer_out')
        ) as spent
    ) as o
) as rings
inner join points.member as m on m.member_id = returning_members.member_id
where rings.orders >= :refunds_after_spend and rings.points >= :refund_min
    and rings.points >= :refund_share * rings.refunded
order by m.member_id
