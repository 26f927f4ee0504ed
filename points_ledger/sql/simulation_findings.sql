-- What had been found before the period, and the rows that files were refused for. Parameters: first. Locks: none.
-- Idempotence: a read.
select f.*
from points.finding as f
where f.found_on is null or f.found_on < :first
