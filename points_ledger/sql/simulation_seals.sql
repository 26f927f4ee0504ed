-- The seals of the days before the period. Parameters: first. Locks: none. Idempotence: a read.
select s.*
from points.seal as s
where s.book_date < :first
