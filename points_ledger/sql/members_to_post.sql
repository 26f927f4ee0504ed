-- Members with an event of a day up to `through` that is not posted yet, and a wallet; in order. Parameters: through.
-- Locks: those of members_waiting. Idempotence: a read of what waits.
select member_id from points.members_waiting(:through) as waiting (member_id)
union
select w.member_id
from points.activity as a
inner join points.member as m on m.member_no = a.member_no and m.joined_on <= a.effective_on
inner join points.wallet as w on w.member_id = m.member_id
where a.state = 'waiting' and a.effective_on <= :through
order by member_id
