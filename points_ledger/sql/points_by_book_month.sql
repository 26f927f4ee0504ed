-- Points by book month and kind. Parameters: through. Locks: none. Idempotence: a read.
select to_char(date_trunc('month', book_date), 'YYYY-MM') as month, kind, sum(points)::bigint as points
from points.entry
where book_date <= :through
group by 1, 2
order by 1, 2
