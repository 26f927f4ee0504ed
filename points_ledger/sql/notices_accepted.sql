-- Notices that were accepted, by kind and the member's language; one that went out inside a digest counts as itself.
-- Parameters: none. Locks: none. Idempotence: a read.
select n.kind, coalesce(m.locale, '') as locale, count(*) as notices
from points.notice as n
inner join points.member as m on m.member_id = n.member_id
where exists (select from points.notice_result as r where r.notice_id = n.notice_id and r.result = 'accepted')
group by n.kind, coalesce(m.locale, '')
order by 1, 2
