-- What each book date of a month moved, by kind. Parameters: first, through (the month's days). Locks: none.
-- Idempotence: a read.
select book_date, kind, count(*) as entries, sum(points)::bigint as points, sum(sign * points)::bigint as moved,
    sum(case kind when 'owe' then points when 'repay' then -points else 0 end)::bigint as owed
from points.entry
where book_date between :first and :through
group by book_date, kind
order by book_date, kind
