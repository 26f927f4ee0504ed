-- The events that were posted before the period. Parameters: first. Locks: none. Idempotence: a read.
select k.*
from points.posting_key as k
where k.book_date < :first
