-- Logins that proposed or approved points for one member again and again, the last time posted on the day. Design 2.9.
-- Parameters: day, staff_days, staff_same_member. Locks: none. Idempotence: a read; costs the day's corrections.
select
    concat_ws(' ', t.login, m.member_no) as subject, t.member_id,
    jsonb_build_object('login', t.login, 'times', so_far.times, 'points', so_far.points, 'approvals', so_far.approvals) as facts
from (
    select distinct e.member_id, person.login
    from points.entry as e
    inner join points.approval as a on a.approval_id = e.approval_id
    cross join lateral (values (a.proposed_by), (a.approved_by)) as person (login)
    where e.book_date = CAST(:day AS date) and e.source in ('adjustment', 'reinstatement') and e.sign = 1
) as t
cross join lateral (
    select count(*) as times, sum(e.points)::bigint as points, jsonb_agg(a.approval_id order by a.approval_id) as approvals
    from points.entry as e
    inner join points.approval as a on a.approval_id = e.approval_id and t.login in (a.proposed_by, a.approved_by)
    where e.member_id = t.member_id and e.source in ('adjustment', 'reinstatement') and e.sign = 1
        and e.book_date <= CAST(:day AS date) and e.book_date > CAST(:day AS date) - CAST(:staff_days AS int)
) as so_far
inner join points.member as m on m.member_id = t.member_id
where so_far.times >= :staff_same_member
order by 1
