-- Events of the month that moved no points, and rows that were not accepted, by reason. Rows of files whose day is not
-- known, and of files that came after the month was closed, are left out. Parameters: first, through. Locks: none.
-- Idempotence: a read.
select reason, count(*) as n from points.finding
where found_on between :first and :through
    and recorded_at <= (select closed_at from points.book_day where book_date = :through)
group by reason
order by reason
