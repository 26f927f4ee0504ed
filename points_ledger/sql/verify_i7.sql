-- I7: nothing due is left behind a close whose expiry is done. Lots with held points wait for their hold; one that was
-- opened, or let go by its hold, since that close is due at the next. Reads due lots only: the gate runs it too.
-- Parameters: none. Locks: none. Idempotence: a read.
select l.member_id, l.lot_seq,
    format('member_id %s, lot %s: %s points were valid through %s', l.member_id, l.lot_seq, l.remaining, l.last_day) as difference
from points.due_lots(points.cleared_through()) as l
where not exists (
        select from points.entry o where o.member_id = l.member_id and o.seq = l.lot_seq and o.book_date > points.cleared_through())
    and not exists (
        select from points.hold_lot h inner join points.hold_end e on e.member_id = h.member_id and e.hold_no = h.hold_no
        where h.member_id = l.member_id and h.lot_seq = l.lot_seq
            and (e.ended_on > points.cleared_through()
                or e.recorded_at >= (select closed_at from points.book_day where book_date = points.cleared_through())))
order by 1, 2
