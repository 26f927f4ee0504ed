-- Enrols the members of a file, or takes over what it says of those already known. Parameters: none.
-- Locks: the members. Idempotence: unique member_no.
insert into points.member (member_no, joined_on, locale, time_zone, groups, birthday_md, status)
select member_no, joined_on, locale, time_zone, groups, birthday_md, status
from typed_member
where reason is null
order by member_no
on conflict (member_no) do update
set joined_on = least(points.member.joined_on, excluded.joined_on),
    locale = coalesce(excluded.locale, points.member.locale),
    time_zone = coalesce(excluded.time_zone, points.member.time_zone),
    groups = excluded.groups,
    birthday_md = coalesce(excluded.birthday_md, points.member.birthday_md),
    status = excluded.status
