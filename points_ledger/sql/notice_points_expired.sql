-- Tells members which of their points the close of a day cleared, in the transaction that clears them.
-- Parameters: members (bigint[], wallets locked by the caller), closed (date: the day that was closed), run_id.
-- Locks: none of its own. Idempotence: by dedupe key; of what one run clears in two turns, the second is told by itself.
with rule as materialized (
    select * from points.notice_policy where version = points.version_on(:closed) and 'points_expired' = any(kinds)
),
told as (
    select n.member_id, sum((n.facts ->> 'points')::bigint) as points
    from points.notice as n
    where n.member_id = any(CAST(:members AS bigint [])) and n.business_date = CAST(:closed AS date) and n.kind = 'points_expired'
    group by n.member_id
),
cleared as (
    select e.*, (sum(e.points) over (partition by e.member_id order by e.seq))::bigint as upto
    from rule as r
    inner join points.entry as e on e.member_id = any(CAST(:members AS bigint [])) and e.book_date > CAST(:closed AS date)
        and e.kind = 'expire' and e.run_id is not distinct from CAST(:run_id AS bigint)
),
due as materialized (
    select
        c.member_id, m.member_no, sum(c.points)::bigint as points, max(c.upto) as upto, max(c.effective_on) as expired_on,
        (array_agg(c.balance_after order by c.seq desc))[1] as balance, max(coalesce(t.points, 0)) as told,
        jsonb_agg(jsonb_build_object('points', c.points, 'valid_through', c.effective_on - 1) order by c.seq) as lots
    from cleared as c
    inner join points.member as m on m.member_id = c.member_id
    left join told as t on t.member_id = c.member_id
    where c.upto > coalesce(t.points, 0)
    group by c.member_id, m.member_no
)
select points.enqueue_notices(array_agg(row(
    d.member_id, 'points_expired', 'legal',
    format('points_expired:%s:%s', d.member_no, CAST(:closed AS date) + 1) || case when d.told > 0 then ':' || d.upto else '' end,
    jsonb_build_object('points', d.points, 'expired_on', d.expired_on, 'lots', d.lots, 'balance', d.balance,
        'as_of', CAST(:closed AS date) + 1),
    points.begins(CAST(:closed AS date) + 1, r.time_zone), points.begins(CAST(:closed AS date) + 32, r.time_zone))::points.due_notice
    order by d.member_id), CAST(:closed AS date)) as written
from due as d
cross join rule as r
