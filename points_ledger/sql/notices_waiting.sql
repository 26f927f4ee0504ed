-- The queue of notices by kind, class and channel, and since when the oldest may go. Parameters: none. Locks: none.
-- Idempotence: a read.
select n.kind, n.class as class_, n.channel, count(*) as notices, min(q.not_before) as oldest
from points.notice_queue as q
inner join points.notice as n on n.notice_id = q.notice_id
group by n.kind, n.class, n.channel
order by n.kind, n.channel
