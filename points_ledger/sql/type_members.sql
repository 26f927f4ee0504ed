-- Reads the staged text of a members file as values, each row with the reason it cannot be taken, if any.
-- Of a contact it keeps an HMAC-SHA256: addresses in lower case, numbers as their digits.
-- Parameters: starts_on (the default day of joining), inner_pad, outer_pad (of the key). Locks: none. Idempotence: temporary table.
create temporary table typed_member on commit drop as
with typed as (
    select
        row_no, coalesce(member_no, '') as member_no, nullif(joined_on, '') as said_joined_on,
        case when coalesce(joined_on, '') = '' then CAST(:starts_on AS date) else points.try_date(joined_on) end as joined_on,
        nullif(locale, '') as locale, nullif(time_zone, '') as time_zone,
        coalesce(string_to_array(nullif(groups, ''), '|'), '{}') as groups, nullif(birthday, '') as birthday_md,
        coalesce(nullif(status, ''), 'active') as status,
        row_number() over (partition by member_no order by row_no) as copy_no,
        nullif(case when contact like '%@%' then lower(btrim(contact)) else regexp_replace(contact, '[^0-9+]', '', 'g') end, '')
            as contact
    from staged
)
select
    row_no, member_no, said_joined_on, joined_on, locale, time_zone, groups, birthday_md, status, copy_no,
    sha256(CAST(:outer_pad AS bytea) || sha256(CAST(:inner_pad AS bytea) || convert_to(contact, 'UTF8'))) as contact_fingerprint,
    case
        when member_no = '' then 'member_no_missing'
        when joined_on is null then 'joined_on_not_a_day'
        when birthday_md !~ '^(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' then 'birthday_not_a_month_and_day'
        when status not in ('active', 'closed') then 'status_unknown'
        when time_zone is not null and not exists (select from pg_timezone_names z where z.name = time_zone) then 'time_zone_unknown'
        when copy_no > 1 then 'member_twice_in_the_file'
    end as reason
from typed
