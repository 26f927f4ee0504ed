-- What is left of the lots after the entries booked by a day, by last valid day. Parameters: through.
-- Locks: none. Idempotence: a read.
select o.valid_through, sum(e.remaining)::bigint as points
from (
    select member_id, lot_seq, sum(sign * points) as remaining
    from points.entry
    where book_date <= :through and lot_seq is not null
    group by member_id, lot_seq
    having sum(sign * points) > 0
) as e
inner join points.lot as o on o.member_id = e.member_id and o.lot_seq = e.lot_seq
group by o.valid_through
order by o.valid_through nulls last
