-- The member whose entries are of the most kinds, in the fewest entries; one whose tier went up, if any. Parameters: none. Locks: none. Idempotence: a read.
select m.member_no
from points.entry as e
inner join points.member as m on m.member_id = e.member_id
group by m.member_no
having count(*) between 4 and 20
order by exists (select from points.tier_decision as t where t.member_id = min(e.member_id) and t.what = 'upgrade') desc,
    count(distinct e.kind) desc, count(*), m.member_no
limit 1
