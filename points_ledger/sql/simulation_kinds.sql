-- Points by kind that the days of a period posted and their nights cleared. Parameters: first, through. Locks: none.
-- Idempotence: a read. A night clears what is booked on the day after it.
select e.kind, sum(e.points)::bigint as points
from points.entry as e
left join points.run as r on r.run_id = e.run_id
where e.book_date >= :first
    and case e.kind when 'expire' then coalesce(r.business_date, e.book_date - 1) else e.book_date end between :first and :through
group by e.kind
order by e.kind
