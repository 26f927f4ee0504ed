-- Members with a due lot that has no proof of notice and is not to be cleared, in order. Parameters: closed. Locks: none.
-- Idempotence: a read of due lots.
select distinct member_id
from points.gated_lots(:closed)
where fate not in ('clear', 'unannounced')
order by member_id
