-- Reads the staged text of a cancellations file as values, each row with the reason it cannot be taken, if any.
-- Parameters: timestamp_format (null = ISO), zone (of the programme), starts_on. Locks: none. Idempotence: temporary table.
create temporary table typed_event on commit drop as
with typed as (
    select
        row_no, coalesce(redemption_no, '') as event_no, null::text as member_no, null::numeric as points,
        points.try_timestamp(cancelled_at, CAST(:timestamp_format AS text)) as happened_at
    from staged
), marked as (
    select *, (happened_at at time zone :zone)::date as effective_on,
        sha256(convert_to(concat_ws('|', event_no, happened_at), 'UTF8')) as fingerprint,
        row_number() over (partition by event_no order by row_no) as copy_no
    from typed
)
select m.row_no, m.event_no, m.member_no, m.points, m.happened_at, m.effective_on, m.fingerprint,
    case
        when m.event_no = '' then 'redemption_no_missing'
        when m.happened_at is null then 'cancelled_at_not_a_time'
        when m.effective_on < :starts_on then 'before_the_programme'
        when coalesce(k.fingerprint, f.fingerprint) <> m.fingerprint then 'cancellation_changed'
    end as reason,
    coalesce(coalesce(k.fingerprint, case when m.copy_no > 1 then f.fingerprint end) = m.fingerprint, false) as is_known
from marked as m
left join marked as f on f.event_no = m.event_no and f.copy_no = 1
left join points.cancellation as k on k.redemption_no = m.event_no
