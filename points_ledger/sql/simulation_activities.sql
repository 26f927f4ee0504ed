-- Activities that the ledger counted or refused from one day on and before another, with the day it did; one that reached
-- no bonus and was not refused is taken as known on its own day. Parameters: since, before. Locks: none. Idempotence: a read.
select a.*, coalesce(e.posted_on, f.found_on, a.effective_on) as known_on
from points.activity as a
left join (select activity_no, min(posted_on) as posted_on from points.activity_earning group by activity_no) as e
    on e.activity_no = a.activity_no
left join points.finding as f on f.reason = 'unknown_member' and f.feed = 'activities' and f.ref = a.activity_no
where a.state <> 'waiting'
    and coalesce(e.posted_on, f.found_on, a.effective_on) >= :since
    and coalesce(e.posted_on, f.found_on, a.effective_on) < :before
