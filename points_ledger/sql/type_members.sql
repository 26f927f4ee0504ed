-- Reads the staged text of a members file as values, each row with the reason it cannot be taken, if any.
-- Of a contact there is an HMAC-SHA256, its mark: addresses in lower case, numbers as their digits. Without a column `contact`,
-- the address or number stands for it.
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
        nullif(btrim(name), '') as name, nullif(btrim(email), '') as email, nullif(regexp_replace(phone, '[ ().-]', '', 'g'), '') as phone,
        nullif(lower(btrim(consent_marketing)), '') as said_consent,
        nullif(case when contact like '%@%' then lower(btrim(contact)) else regexp_replace(contact, '[^0-9+]', '', 'g') end, '')
            as contact
    from staged
)
select
    row_no, member_no, said_joined_on, joined_on, locale, time_zone, groups, birthday_md, status, copy_no, name, email, phone,
    said_consent in ('yes', 'true', '1') as consent_marketing,
    sha256(CAST(:outer_pad AS bytea) || sha256(CAST(:inner_pad AS bytea)
        || convert_to(coalesce(contact, lower(email), phone), 'UTF8'))) as contact_fingerprint,
    sha256(CAST(:outer_pad AS bytea) || sha256(CAST(:inner_pad AS bytea) || convert_to(lower(email), 'UTF8'))) as email_mark,
    sha256(CAST(:outer_pad AS bytea) || sha256(CAST(:inner_pad AS bytea) || convert_to(phone, 'UTF8'))) as phone_mark,
    case
        when member_no = '' then 'member_no_missing'
        when joined_on is null then 'joined_on_not_a_day'
        when birthday_md !~ '^(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' then 'birthday_not_a_month_and_day'
        when status not in ('active', 'closed') then 'status_unknown'
        when time_zone is not null and not exists (select from pg_timezone_names z where z.name = time_zone) then 'time_zone_unknown'
        when length(name) > 200 or name ~ '[\x01-\x1f\x7f]' then 'name_too_long_or_with_control_characters'
        when length(email) > 254 or email !~ '^[^]\s\x01-\x1f\x7f@<>(),;:\\"[]{1,64}@[^]\s\x01-\x1f\x7f@<>(),;:\\"[]+$' then 'email_not_an_address'
        when phone !~ '^[+]?[0-9]{5,15}$' then 'phone_not_a_number'
        when said_consent not in ('yes', 'true', '1', 'no', 'false', '0') then 'consent_not_yes_or_no'
        when copy_no > 1 then 'member_twice_in_the_file'
    end as reason
from typed
