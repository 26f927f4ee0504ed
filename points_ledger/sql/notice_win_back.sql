-- Reminds members who have neither bought nor redeemed for win_back_months of points that are about to lapse: advertising, on the
-- largest step of the ladder that is at most 30 days, else the smallest.
-- Parameters: members (bigint[]), day (the business date that was closed). Locks: none. Idempotence: by dedupe key.
with rule as materialized (
    select *, (select coalesce(max(s) filter (where s <= 30), min(s)) from unnest(ladder) as s) as stage
    from points.notice_policy where version = points.version_on(:day)
),
lapsing as materialized (
    select w.member_id, w.balance, l.last_day, l.points
    from rule as r
    cross join unnest(CAST(:members AS bigint [])) as m (member_id)
    inner join points.wallet as w on w.member_id = m.member_id
    cross join lateral (
        select points.last_day(x.valid_through, w.active_on, x.idle_by) as last_day, sum(x.remaining)::bigint as points
        from points.lot as x
        where x.member_id = m.member_id and x.is_open
            and (x.valid_through <= CAST(:day AS date) + 1 + r.stage or x.idle_by is not null)
        group by 1
    ) as l
    where r.win_back_months > 0 and l.last_day = CAST(:day AS date) + 1 + r.stage
),
dormant as (
    select l.*, m.member_no, r.time_zone, age(CAST(:day AS date) + 1, a.last_on) as since
    from lapsing as l
    inner join points.member as m on m.member_id = l.member_id and m.status = 'active'
    cross join rule as r
    cross join lateral (
        select max(e.effective_on) as last_on from points.entry as e
        where e.member_id = l.member_id and e.kind in ('earn', 'spend') and e.source <> 'undo'
    ) as a
    where a.last_on <= CAST(:day AS date) + 1 - make_interval(months => r.win_back_months)
)
select points.enqueue_notices(array_agg(row(
    member_id, 'win_back', 'marketing', format('win_back:%s:%s', member_no, last_day),
    jsonb_build_object('points', points, 'expires_on', last_day, 'balance', balance,
        'dormant_months', (extract(year from since) * 12 + extract(month from since))::int),
    points.begins(CAST(:day AS date) + 1, time_zone), points.begins(last_day + 1, time_zone))::points.due_notice
    order by member_id), CAST(:day AS date)) as written
from dormant
