-- What the shop told before a day was closed does not wait behind it. Returns wait while points are withheld.
-- Parameters: as_of. Locks: none. Idempotence: a read of what waits.
with closed as (
    select d.closed_at, exists (
        select from points.run as r
        where r.job = 'close-night' and r.business_date = d.book_date and r.withheld is not null) as is_withheld
    from points.book_day as d
    where d.book_date = CAST(:as_of AS date) and d.status = 'closed'
),
waiting as (
    select 'order' as what, order_no as ref, effective_on, file_id from points.shop_order where is_waiting and purchase_lines > 0
    union all
    select 'redemption', redemption_no, effective_on, file_id from points.redemption where state = 'waiting'
    union all
    select 'cancellation', redemption_no, effective_on, file_id from points.cancellation where state = 'waiting'
    union all
    select 'return', l.order_no || '/' || l.line_no, l.effective_on, o.file_id
    from points.return_line as l
    inner join points.shop_order as o on o.member_id = l.member_id and o.order_no = l.order_no
    where l.is_waiting and not (select is_withheld from closed)
)
select w.what, w.ref, format('%s %s of %s waits', w.what, w.ref, w.effective_on) as difference
from waiting as w
inner join points.feed_file as f on f.file_id = w.file_id
cross join closed as c
where w.effective_on <= CAST(:as_of AS date) and f.imported_at < c.closed_at
order by 1, 2
