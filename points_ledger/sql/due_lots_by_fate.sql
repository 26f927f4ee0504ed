-- The lots that are due at the close of a day, by what becomes of them (gated_lots). Parameters: closed. Locks: none.
-- Idempotence: a read of due lots.
select fate, count(*) as lots, sum(remaining)::bigint as points
from points.gated_lots(:closed)
group by fate
order by fate
