-- I12: the book dates of a member never go back.
-- Parameters: none. Locks: none. Idempotence: a read.
select member_id, seq,
    format('member_id %s, seq %s: booked %s, the entry before it %s', member_id, seq, book_date, before) as difference
from (
    select member_id, seq, book_date, lag(book_date) over (partition by member_id order by seq) as before from points.entry
) as chain
where before > book_date
order by 1, 2
