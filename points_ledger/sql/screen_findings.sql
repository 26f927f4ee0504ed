-- Findings of the screens, newest first, each with what became of it. Parameters: is_open (only those nobody decided about),
-- member_no (null = everybody's; a contact belongs to all who share it). Locks: none. Idempotence: a read.
select
    f.finding_id, f.business_date, f.screen, f.subject, m.member_no, f.facts,
    coalesce(w.is_blocked, false) as is_blocked, r.reason as cleared_because, r.actor as cleared_by,
    exists (select from points.open_screen_finding as o where o.finding_id = f.finding_id) as is_open
from points.screen_finding as f
left join points.member as m on m.member_id = f.member_id
left join points.wallet as w on w.member_id = f.member_id
left join points.screen_review as r on r.finding_id = f.finding_id
where (
        CAST(:member_no AS text) is null
        or f.member_id = (select x.member_id from points.member as x where x.member_no = :member_no)
        or (f.screen = 'shared_contact' and f.subject = (
            select encode(substr(c.fingerprint, 1, 8), 'hex')
            from points.member_contact as c
            inner join points.member as x on x.member_id = c.member_id
            where x.member_no = :member_no)))
    and (not :is_open or exists (select from points.open_screen_finding as o where o.finding_id = f.finding_id))
order by f.business_date desc, f.finding_id desc
