-- What the close of a day clears, where no notice is asked for. Parameters: closed. Locks: none. Idempotence: a read of due lots.
select count(distinct member_id) as members, count(*) as lots, coalesce(sum(remaining), 0)::bigint as points
from points.due_lots(:closed)
