-- I7: nothing due is left behind the last closed day whose night is done. Lots with held points wait for their hold.
-- Parameters: none. Locks: none. Idempotence: a read.
select format('member_id %s, lot %s: %s points were valid through %s', l.member_id, l.lot_seq, l.remaining, l.last_day) as difference
from points.due_lots((select max(business_date) from points.run where job = 'close-night' and status = 'done')) as l
where not exists (
        select from points.entry o where o.member_id = l.member_id and o.seq = l.lot_seq
            and o.book_date > (select max(business_date) from points.run where job = 'close-night' and status = 'done'))
    and not exists (
        select from points.hold_lot h inner join points.hold_end e on e.member_id = h.member_id and e.hold_no = h.hold_no
        where h.member_id = l.member_id and h.lot_seq = l.lot_seq
            and e.ended_on > (select max(business_date) from points.run where job = 'close-night' and status = 'done'))
order by 1
