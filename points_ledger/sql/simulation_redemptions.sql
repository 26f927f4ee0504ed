-- Redemptions that the ledger posted or refused from one day on and before another, with the day it did. Parameters:
-- since, before. Locks: none. Idempotence: a read.
select r.*, coalesce(k.book_date, f.found_on, r.effective_on) as known_on
from points.redemption as r
left join points.posting_key as k on k.member_id = r.member_id and k.source = 'redemption' and k.source_ref = r.redemption_no
left join points.finding as f
    on f.reason in ('insufficient_points', 'unknown_member', 'redemptions_blocked') and f.feed = 'redemptions' and f.ref = r.redemption_no
where r.state <> 'waiting'
    and coalesce(k.book_date, f.found_on, r.effective_on) >= :since
    and coalesce(k.book_date, f.found_on, r.effective_on) < :before
