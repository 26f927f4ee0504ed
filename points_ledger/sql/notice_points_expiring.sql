-- Tells members which points lapse when: one notice for each last day and step of the ladder. A day's step is the smallest that is
-- not below the days left on the morning after the close; a day that this close deferred to has the step min_days.
-- Parameters: members (bigint[]), day (the business date that was closed), horizon (date: nothing later is told).
-- Locks: none. Idempotence: by dedupe key, so that a step that was missed is caught up and none is told twice.
with rule as materialized (
    select * from points.notice_policy where version = points.version_on(:day)
),
lapsing as materialized (
    select w.member_id, w.balance, l.last_day, l.points
    from unnest(CAST(:members AS bigint [])) as m (member_id)
    inner join points.wallet as w on w.member_id = m.member_id
    -- member by member through the index of their open lots: the cost follows what is due, whatever the planner thinks is stored
    cross join lateral (
        select points.last_day(x.valid_through, w.active_on, x.idle_by) as last_day, sum(x.remaining)::bigint as points
        from points.lot as x
        where x.member_id = m.member_id and x.is_open and (x.valid_through <= CAST(:horizon AS date) or x.idle_by is not null)
        group by 1
    ) as l
    where l.last_day > CAST(:day AS date) and l.last_day <= CAST(:horizon AS date)
),
deferred as materialized (
    select distinct d.member_id, d.to_date from points.lot_deferral as d where d.business_date = CAST(:day AS date)
),
due as materialized (
    select l.*, m.member_no, r.time_zone, r.point_value,
        case when d.member_id is not null then r.min_days
            else (select min(s) from unnest(r.ladder) as s where s >= l.last_day - CAST(:day AS date) - 1) end as stage
    from lapsing as l
    inner join points.member as m on m.member_id = l.member_id
    cross join rule as r
    left join deferred as d on d.member_id = l.member_id and d.to_date = l.last_day
)
select points.enqueue_notices(array_agg(row(
    member_id, 'points_expiring', 'service', format('points_expiring:%s:%s:T-%s', member_no, last_day, stage),
    jsonb_build_object('points', points, 'expires_on', last_day, 'stage', stage, 'balance', balance,
        'value', round(points * point_value, 2)::text, 'as_of', CAST(:day AS date) + 1, 'dates', jsonb_build_array(last_day),
        'lots', jsonb_build_array(jsonb_build_object('points', points, 'expires_on', last_day))),
    points.begins(CAST(:day AS date) + 1, time_zone), points.begins(last_day + 1, time_zone))::points.due_notice
    order by member_id, last_day), CAST(:day AS date)) as written
from due
where stage is not null
