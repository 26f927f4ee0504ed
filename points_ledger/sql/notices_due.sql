-- What a dispatcher would look at at a moment, by kind and channel, and how much of it is too late by then.
-- Parameters: moment. Locks: none. Idempotence: a read.
select n.kind, n.channel, count(*) as notices, min(q.not_before) as oldest, count(*) filter (where n.valid_until <= :moment) as too_late
from points.notice_queue as q
inner join points.notice as n on n.notice_id = q.notice_id
where q.not_before <= :moment
group by n.kind, n.channel
order by n.kind, n.channel
