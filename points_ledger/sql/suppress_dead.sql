-- Addresses that a provider called dead get no further notice of any class, by the mark of the member's address now.
-- Parameters: ids (notices that were refused because of the address), moment. Locks: none. Idempotence: an address that is
-- suppressed for it already gets no second row.
insert into points.suppression (mark, channel, cause, moment)
select distinct a.mark, n.channel, 'hard_bounce', cast(:moment as timestamptz)
from points.notice as n
inner join points.contact as c on c.member_id = n.member_id
cross join lateral (select case n.channel when 'email' then c.email_mark else c.phone_mark end as mark) as a
where
    n.notice_id = any(cast(:ids as bigint []))
    and a.mark is not null
    and points.suppressed_by(a.mark, n.channel, 'legal') is null
