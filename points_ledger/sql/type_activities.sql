-- Reads the staged text of an activities file as values, each row with the reason it cannot be taken, if any.
-- Parameters: timestamp_format (null = ISO), zone (of the programme), starts_on. Locks: none. Idempotence: temporary table.
-- A number that comes again is skipped when its content is the same, and a finding when it is not; rows that cannot be
-- read take no part in that.
create temporary table typed_event on commit drop as
with typed as (
    select
        row_no, coalesce(activity_no, '') as event_no, coalesce(member_no, '') as member_no, coalesce(activity, '') as activity,
        nullif(store, '') as store, nullif(channel, '') as channel,
        points.try_timestamp(happened_at, CAST(:timestamp_format AS text)) as happened_at
    from staged
), judged as (
    select *, (happened_at at time zone :zone)::date as effective_on,
        sha256(convert_to(concat_ws('|', member_no, activity, extract(epoch from happened_at), coalesce(store, ''), coalesce(channel, '')),
            'UTF8')) as fingerprint,
        case
            when event_no = '' then 'activity_no_missing'
            when member_no = '' then 'member_no_missing'
            when activity = '' then 'activity_missing'
            when happened_at is null then 'happened_at_not_a_time'
            when (happened_at at time zone :zone)::date < :starts_on then 'before_the_programme'
        end as unreadable
    from typed
), first as (
    select distinct on (event_no) event_no, row_no, fingerprint from judged where unreadable is null order by event_no, row_no
)
select j.row_no, j.event_no, j.member_no, j.activity, j.store, j.channel, null::numeric as points, j.happened_at, j.effective_on,
    j.fingerprint,
    coalesce(j.unreadable, case when coalesce(k.fingerprint, f.fingerprint) <> j.fingerprint then 'activity_changed' end) as reason,
    j.unreadable is null and coalesce(coalesce(k.fingerprint, case when f.row_no <> j.row_no then f.fingerprint end)
        = j.fingerprint, false) as is_known
from judged as j
left join first as f on f.event_no = j.event_no
left join points.activity as k on k.activity_no = j.event_no
