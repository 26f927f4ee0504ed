-- The member, run, approval and version of the programme that an entry names are there.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select e.member_id, e.seq, format('member_id %s, seq %s: %s', e.member_id, e.seq, concat_ws(', ',
    case when m.member_id is null then 'no such member' end,
    case when r.run_id is null and e.run_id is not null then format('no run %s', e.run_id) end,
    case when a.approval_id is null and e.approval_id is not null then format('no approval %s', e.approval_id) end,
    case when p.version is null and e.policy_version is not null then format('no version %s', e.policy_version) end)) as difference
from points.entry as e
left join points.member as m on m.member_id = e.member_id
left join points.run as r on r.run_id = e.run_id
left join points.approval as a on a.approval_id = e.approval_id
left join points.policy_version as p on p.version = e.policy_version
where e.book_date >= CAST(:since AS date) and (m.member_id is null or (e.run_id is not null and r.run_id is null)
    or (e.approval_id is not null and a.approval_id is null) or (e.policy_version is not null and p.version is null))
order by 1, 2
