-- I7: nothing due is left behind a closed day. A lot with held points waits for its hold; one that was opened, or
-- let go by its hold, on this day is due at its close.
-- Parameters: business_date. Locks: none. Idempotence: a read.
select format('member_id %s, lot %s: %s points were valid through %s', member_id, lot_seq, remaining, last_day) as finding
from points.due_lots(least(CAST(:business_date AS date) - 1, (select max(book_date) from points.book_day where status = 'closed'))) as due
where (member_id, lot_seq) not in (select member_id, lot_seq from points.entry where book_date >= :business_date and seq = lot_seq)
    and (member_id, lot_seq) not in (
        select h.member_id, h.lot_seq from points.hold_lot as h
        inner join points.hold_end as e on e.member_id = h.member_id and e.hold_no = h.hold_no
        where e.ended_on >= :business_date or e.recorded_at >= (select closed_at from points.book_day where book_date = :business_date - 1))
order by last_day, member_id limit 100
