-- Every business date up to a month's last one, computed again from its entries and held against its seal.
-- Parameters: through. Locks: none. Idempotence: a read. A date without a closed day, or without a seal, differs too.
select day.book_date, coalesce(s.entries, 0) as entries, coalesce(s.outstanding, 0) as outstanding, coalesce(s.debt, 0) as debt,
    encode(s.root, 'hex') as root, encode(s.checkpoint, 'hex') as checkpoint,
    d.status is not distinct from 'closed' and (s.entries, s.points_by_kind, s.outstanding, s.debt, s.root, s.previous, s.checkpoint)
    is not distinct from (x.entries, x.points_by_kind, x.outstanding, x.debt, x.root, x.previous, x.checkpoint) as is_whole
from (
    select generate_series(min(book_date), CAST(:through AS date), interval '1 day')::date as book_date from points.book_day
) as day
left join points.book_day as d on d.book_date = day.book_date
left join points.seal as s on s.book_date = day.book_date
cross join lateral points.expected_seal(day.book_date) as x
order by day.book_date
