-- Balance and debt of every member with an entry, by member_no, after the night of a day. Parameters: through.
-- Locks: none. Idempotence: a read.
select
    m.member_no, sum(e.sign * e.points)::bigint as balance,
    coalesce(sum(case e.kind when 'owe' then e.points when 'repay' then -e.points end), 0)::bigint as debt
from points.entry as e
inner join points.member as m on m.member_id = e.member_id
left join points.run as r on r.run_id = e.run_id and e.kind = 'expire'
where case e.kind when 'expire' then coalesce(r.business_date, e.book_date - 1) else e.book_date end <= :through
group by m.member_no
order by m.member_no
