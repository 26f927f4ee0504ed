-- Records what a members file says of marketing, where it says something else than the newest file that said anything: a file
-- that only repeats itself does not undo what the member said since. Parameters: none. Locks: the new rows. Idempotence: as said.
insert into points.consent (member_id, class, channel, granted, source, moment)
select m.member_id, 'marketing', 'any', t.consent_marketing, 'import', now()
from typed_member as t
inner join points.member as m on m.member_no = t.member_no
where t.reason is null and t.consent_marketing is not null
    and t.consent_marketing is distinct from (
        select c.granted from points.consent as c
        where c.member_id = m.member_id and c.class = 'marketing' and c.channel = 'any' and c.source = 'import'
        order by c.consent_no desc limit 1)
order by m.member_id
