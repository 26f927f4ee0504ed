-- Cancellations that the ledger posted or refused from one day on and before another, with the day it did. Parameters:
-- since, before. Locks: none. Idempotence: a read.
select c.*, coalesce(k.book_date, f.found_on, c.effective_on) as known_on
from points.cancellation as c
left join points.redemption as r on r.redemption_no = c.redemption_no
left join points.posting_key as k on k.member_id = r.member_id and k.source = 'cancellation' and k.source_ref = c.redemption_no
left join points.finding as f on f.reason = 'unknown_redemption' and f.feed = 'cancellations' and f.ref = c.redemption_no
where c.state <> 'waiting'
    and coalesce(k.book_date, f.found_on, c.effective_on) >= :since
    and coalesce(k.book_date, f.found_on, c.effective_on) < :before
