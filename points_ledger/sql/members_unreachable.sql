-- Members with points whom no channel of the programme reaches with a service notice, and why: no contact data, no address for a
-- channel that is used, opted out, or an address that nothing is sent to. Soonest lapse first.
-- Parameters: day (whose version counts). Locks: none. Idempotence: a read.
with rule as materialized (
    select * from points.expiry_gate where version = points.version_on(:day)
)
select
    m.member_no, w.balance as points,
    (select min(points.last_day(l.valid_through, w.active_on, l.idle_by)) from points.lot as l
        where l.member_id = w.member_id and l.is_open) as lapses_on,
    case
        when k.member_id is null then 'no contact data'
        when not exists (
            select from unnest(r.channels) as c (channel)
            where case c.channel when 'email' then k.email_mark else k.phone_mark end is not null) then 'no address for a channel in use'
        when not exists (
            select from unnest(r.channels) as c (channel)
            where case c.channel when 'email' then k.email_mark else k.phone_mark end is not null
                and points.has_consent(w.member_id, 'service', c.channel)) then 'opted out'
        else 'address suppressed'
    end as why
from points.wallet as w
inner join points.member as m on m.member_id = w.member_id
cross join rule as r
left join points.contact as k on k.member_id = w.member_id
where w.balance > 0 and not exists (select from points.reach(w.member_id, 'service', r.channels))
order by lapses_on nulls last, m.member_no
