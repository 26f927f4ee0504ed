-- What the close of a day clears, where the version asks for a notice: not what it would defer. Parameters: closed. Locks: none.
-- Idempotence: a read of due lots.
select count(distinct member_id) as members, count(*) as lots, coalesce(sum(remaining), 0)::bigint as points
from points.gated_lots(:closed)
where fate in ('clear', 'unannounced')
