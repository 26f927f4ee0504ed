-- The contacts of a members file, as it said them, with the key under which a known member's was sealed before; a member with
-- neither a contact now nor one before is left out. Parameters: none. Locks: none. Idempotence: a read of the temporary table.
select m.member_id, t.name, t.email, t.phone, t.email_mark, t.phone_mark, c.key_wrapped, c.key_id
from typed_member as t
inner join points.member as m on m.member_no = t.member_no
left join points.contact as c on c.member_id = m.member_id
where t.reason is null and (c.member_id is not null or coalesce(t.name, t.email, t.phone) is not null)
order by m.member_id
