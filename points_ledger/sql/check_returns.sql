-- A return took back what it says, in points booked as claw_back or owe.
-- Parameters: none. Locks: none. Idempotence: a read.
select coalesce(t.member_id, e.member_id) as member_id, coalesce(t.ref, e.source_ref) as ref,
    format('member_id %s, return %s: took back %s points, booked %s', coalesce(t.member_id, e.member_id), coalesce(t.ref, e.source_ref),
        coalesce(t.points, 0), coalesce(e.points, 0)) as difference
from (
    select member_id, return_order_no || '/' || return_line_no as ref, sum(points) as points
    from points.returned_line group by 1, 2
) as t
full join (
    select member_id, source_ref, sum(points) as points from points.entry
    where kind in ('claw_back', 'owe') and source = 'return'
    group by member_id, source_ref
) as e on e.member_id = t.member_id and e.source_ref = t.ref
where coalesce(t.points, 0) <> coalesce(e.points, 0)
order by 1, 2
