-- No entry is effective after the day it is booked on. (Points that are not yet usable say so in usable_from.)
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select e.member_id, e.seq, format('member_id %s, seq %s: effective %s, booked on %s', e.member_id, e.seq, e.effective_on,
    e.book_date) as difference
from points.entry as e
where e.book_date >= CAST(:since AS date) and e.effective_on > e.book_date
order by 1, 2
