-- Logins that proposed or approved points for the member they are themselves (screens.staff of the programme), posted on a
-- day. Design 2.9. Parameters: day, version. Locks: none. Idempotence: a read; costs the day's corrections.
select
    concat_ws(' ', staff.login, m.member_no) as subject, m.member_id,
    jsonb_build_object('login', staff.login, 'points', sum(e.points), 'approvals', jsonb_agg(a.approval_id order by a.approval_id)) as facts
from points.entry as e
inner join points.approval as a on a.approval_id = e.approval_id
inner join points.member as m on m.member_id = e.member_id
inner join points.screening as s on s.version = :version
cross join lateral jsonb_each_text(s.staff) as staff (login, member_no)
where e.book_date = CAST(:day AS date) and e.source in ('adjustment', 'reinstatement') and e.sign = 1
    and staff.member_no = m.member_no and staff.login in (a.proposed_by, a.approved_by)
group by staff.login, m.member_no, m.member_id
order by 1
