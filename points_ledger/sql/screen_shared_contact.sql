-- Contacts that many members gave, one of whom the day touched. Found again only when more members share it than before.
-- Design 2.9. Parameters: day, members_per_contact. Locks: none. Idempotence: a read.
select
    encode(substr(c.fingerprint, 1, 8), 'hex') as subject, CAST(null AS bigint) as member_id,
    jsonb_build_object('members', sharing.members, 'member_nos', to_jsonb(sharing.member_nos[1:20])) as facts
from (
    select distinct own.fingerprint
    from (select distinct e.member_id from points.entry as e where e.book_date = CAST(:day AS date)) as touched
    inner join points.member_contact as own on own.member_id = touched.member_id
) as c
cross join lateral (
    select count(*) as members, array_agg(m.member_no order by m.member_no) as member_nos
    from points.member_contact as x
    inner join points.member as m on m.member_id = x.member_id
    where x.fingerprint = c.fingerprint
) as sharing
where sharing.members >= :members_per_contact
    and not exists (
        select from points.screen_finding as f
        where f.screen = 'shared_contact' and f.subject = encode(substr(c.fingerprint, 1, 8), 'hex')
            and CAST(f.facts ->> 'members' AS bigint) >= sharing.members)
order by 1
