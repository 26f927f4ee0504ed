-- Reads the staged text of a redemptions file as values, each row with the reason it cannot be taken, if any.
-- Parameters: timestamp_format (null = ISO), zone (of the programme), starts_on. Locks: none. Idempotence: temporary table.
create temporary table typed_event on commit drop as
with typed as (
    select
        row_no, coalesce(redemption_no, '') as event_no, coalesce(member_no, '') as member_no, nullif(reward, '') as reward,
        case when points.is_number(points) then points::numeric end as points,
        points.try_timestamp(redeemed_at, CAST(:timestamp_format AS text)) as happened_at
    from staged
), marked as (
    select *, (happened_at at time zone :zone)::date as effective_on,
        sha256(convert_to(concat_ws('|', member_no, points, happened_at), 'UTF8')) as fingerprint,
        row_number() over (partition by event_no order by row_no) as copy_no
    from typed
)
select m.row_no, m.event_no, m.member_no, m.reward, m.points, m.happened_at, m.effective_on, m.fingerprint,
    case
        when m.event_no = '' then 'redemption_no_missing'
        when m.member_no = '' then 'member_no_missing'
        when m.points is null then 'points_not_a_number'
        when m.points <= 0 or m.points <> trunc(m.points) then 'points_not_a_positive_whole_number'
        when m.happened_at is null then 'redeemed_at_not_a_time'
        when m.effective_on < :starts_on then 'before_the_programme'
        when coalesce(k.fingerprint, f.fingerprint) <> m.fingerprint then 'redemption_changed'
    end as reason,
    coalesce(coalesce(k.fingerprint, case when m.copy_no > 1 then f.fingerprint end) = m.fingerprint, false) as is_known
from marked as m
left join marked as f on f.event_no = m.event_no and f.copy_no = 1
left join points.redemption as k on k.redemption_no = m.event_no
