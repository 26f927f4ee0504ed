-- Orders that the ledger posted from one day on and before another, with the day it did (known_on): a late order is
-- late in the simulation too. Parameters: since, before. Locks: none. Idempotence: a read.
select o.*, coalesce(k.book_date, x.posted_on, o.effective_on) as known_on
from points.shop_order as o
left join points.posting_key as k on k.member_id = o.member_id and k.source = 'order' and k.source_ref = o.order_no
left join points.order_earning as x on x.member_id = o.member_id and x.order_no = o.order_no
where not o.is_waiting
    and coalesce(k.book_date, x.posted_on, o.effective_on) >= :since
    and coalesce(k.book_date, x.posted_on, o.effective_on) < :before
