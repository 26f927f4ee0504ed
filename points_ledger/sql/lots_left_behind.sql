-- Lots that the close of a business date should have cleared and did not: none, when its night is done. One that came
-- after the sweep is the next night's: opened by an entry of a later book date, or let go by its hold since the close.
-- Parameters: closed (date: the day that was closed). Locks: none. Idempotence: a read.
select count(*) as lots
from points.due_lots(:closed) as l
where not exists (
        select from points.entry as e
        where e.member_id = l.member_id and e.seq = l.lot_seq and e.book_date > :closed)
    and not exists (
        select from points.hold_lot as h
        inner join points.hold_end as x on x.member_id = h.member_id and x.hold_no = h.hold_no
        where h.member_id = l.member_id and h.lot_seq = l.lot_seq
            and (x.ended_on > :closed or x.recorded_at >= (select closed_at from points.book_day where book_date = :closed)))
