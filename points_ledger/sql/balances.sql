-- Every member with an entry, by member_no as bytes. Parameters: as_of (unused: now). Locks: none. Idempotence: a read.
select m.member_no, w.balance, w.debt
from points.wallet as w
inner join points.member as m on m.member_id = w.member_id
where w.seq > 0
order by m.member_no collate "C"
