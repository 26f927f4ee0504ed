-- Points spent in a month by what they were spent on, most first. Parameters: first, through. Locks: none.
-- Idempotence: a read. A reward that the shop did not name is null.
select reason as reward, count(distinct (member_id, journal_id)) as redemptions, sum(points)::bigint as points
from points.entry
where book_date between :first and :through and kind = 'spend' and source <> 'undo'
group by reason
order by points desc, reason nulls last
