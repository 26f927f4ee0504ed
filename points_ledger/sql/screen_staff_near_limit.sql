-- Logins whose adjustments stay just under what they may propose at once, again and again, the last time posted on the day.
-- The limit is the widest of the login and its roles, else the general one, as in my_limits(). Design 2.9.
-- Parameters: day, version, staff_days, near_limit_share, near_limit_count. Locks: none. Idempotence: a read;
-- costs the adjustments of the logins of whom one was posted that day.
select
    t.login as subject, CAST(null AS bigint) as member_id,
    jsonb_build_object('login', t.login, 'times', so_far.times, 'limit', allowed.points, 'approvals', so_far.approvals) as facts
from (
    select distinct a.proposed_by as login
    from points.entry as e
    inner join points.approval as a on a.approval_id = e.approval_id
    where e.book_date = CAST(:day AS date) and e.source = 'adjustment'
) as t
inner join points.approval_policy as p on p.version = :version
cross join lateral (
    select coalesce(max(CAST(l.own ->> 'max_points_per_adjustment' AS bigint)), p.max_points_per_adjustment) as points
    from jsonb_array_elements(p.limits) as l (own)
    inner join pg_roles as role on role.rolname = l.own ->> 'role'
    inner join pg_roles as person on person.rolname = t.login
    where pg_has_role(person.oid, role.oid, 'member')
) as allowed
cross join lateral (
    select count(*) as times, jsonb_agg(a.approval_id order by a.approval_id) as approvals
    from points.approval as a
    inner join points.member as m on m.member_no = a.payload ->> 'member_no'
    inner join points.posting_key as k
        on k.member_id = m.member_id and k.source = 'adjustment' and k.source_ref = CAST(a.approval_id AS text)
    where a.proposed_by = t.login and a.what = 'adjustment'
        and abs(CAST(a.payload ->> 'points' AS bigint)) >= :near_limit_share * allowed.points
        and k.book_date <= CAST(:day AS date) and k.book_date > CAST(:day AS date) - CAST(:staff_days AS int)
) as so_far
where so_far.times >= :near_limit_count
order by 1
