-- The ledger as it was when the day before the period closed: book dates never go back, so this is where each
-- member's chain stood. What the night of that day cleared is booked later, and is cleared again. Parameters: first.
-- Locks: none. Idempotence: a read.
select e.*
from points.entry as e
where e.book_date < :first
order by e.book_date, e.member_id, e.seq
