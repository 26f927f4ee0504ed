-- Return lines that the ledger dealt with from one day on and before another, with the day it did. Parameters: since,
-- before. Locks: none. Idempotence: a read.
select l.*, coalesce(k.book_date, f.found_on, l.effective_on) as known_on
from points.return_line as l
left join points.posting_key as k
    on k.member_id = l.member_id and k.source = 'return' and k.source_ref = l.order_no || '/' || l.line_no
left join points.finding as f
    on f.reason = 'return_without_purchase' and f.feed = 'orders' and f.ref = l.order_no || '/' || l.line_no
where not l.is_waiting
    and coalesce(k.book_date, f.found_on, l.effective_on) >= :since
    and coalesce(k.book_date, f.found_on, l.effective_on) < :before
