-- What the returns before the period took from which purchase lines. Parameters: first. Locks: none. Idempotence: a read.
select r.*
from points.returned_line as r
inner join points.return_line as l
    on l.member_id = r.member_id and l.order_no = r.return_order_no and l.line_no = r.return_line_no
left join points.posting_key as k
    on k.member_id = l.member_id and k.source = 'return' and k.source_ref = l.order_no || '/' || l.line_no
left join points.finding as f
    on f.reason = 'return_without_purchase' and f.feed = 'orders' and f.ref = l.order_no || '/' || l.line_no
where coalesce(k.book_date, f.found_on, l.effective_on) < :first
