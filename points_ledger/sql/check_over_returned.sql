-- No order line gave back more than it had, and no order more points than it earned.
-- Parameters: none. Locks: none. Idempotence: a read.
select r.member_id, r.order_no, format('member_id %s, order %s: %s lines gave back more than they had; %s points taken of %s',
    r.member_id, r.order_no, r.over, r.points, coalesce(x.points, 0)) as difference
from (
    select t.member_id, t.order_no, count(*) filter (where t.quantity > coalesce(l.quantity, 0)) as over, sum(t.points) as points
    from (
        select member_id, order_no, line_no, sum(quantity) as quantity, sum(points) as points
        from points.returned_line group by member_id, order_no, line_no
    ) as t
    left join points.order_line as l on l.member_id = t.member_id and l.order_no = t.order_no and l.line_no = t.line_no
    group by t.member_id, t.order_no
) as r
left join points.order_earning as x on x.member_id = r.member_id and x.order_no = r.order_no
where r.over > 0 or r.points > coalesce(x.points, 0)
order by 1, 2
