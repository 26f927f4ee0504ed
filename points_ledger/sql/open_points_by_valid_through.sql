-- What is left of the lots after the entries booked by a day, by last valid day; of points that lapse by
-- inactivity, the last day as the members' activity stands now. Parameters: through.
-- Locks: none. Idempotence: a read.
select points.last_day(o.valid_through, w.active_on, o.idle_by) as valid_through, sum(e.remaining)::bigint as points
from (
    select member_id, lot_seq, sum(sign * points) as remaining
    from points.entry
    where book_date <= :through and lot_seq is not null
    group by member_id, lot_seq
    having sum(sign * points) > 0
) as e
inner join points.lot as o on o.member_id = e.member_id and o.lot_seq = e.lot_seq
inner join points.wallet as w on w.member_id = e.member_id
group by 1
order by 1 nulls last
