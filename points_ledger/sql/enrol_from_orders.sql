-- Enrols the members whose orders this file brings first; joined on the day of the earliest. Parameters: none.
-- Locks: the new members. Idempotence: unique member_no.
insert into points.member (member_no, joined_on)
select member_no, min(effective_on) from typed_order
where reason is null and member_no is not null and is_known is not true
group by member_no
order by member_no
on conflict (member_no) do update set joined_on = excluded.joined_on
where points.member.joined_on > excluded.joined_on
