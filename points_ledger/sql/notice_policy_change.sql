-- Tells members that a version of the programme comes into force; its sentences are written when it is sent.
-- Parameters: members (bigint[]), day (the business date that was closed), version. Locks: none. Idempotence: by dedupe key.
select points.enqueue_notices(array_agg(row(
    m.member_id, 'policy_change', 'legal', format('policy_change:%s:%s', v.version, m.member_no),
    jsonb_build_object('version', v.version, 'effective_from', v.effective_from),
    points.begins(CAST(:day AS date) + 1, r.time_zone),
    points.begins(greatest(v.effective_from, CAST(:day AS date) + 1) + 31, r.time_zone))::points.due_notice
    order by m.member_id), CAST(:day AS date)) as written
from points.policy_version as v
cross join points.notice_policy as r
inner join points.member as m on m.member_id = any(CAST(:members AS bigint [])) and m.status = 'active'
where v.version = :version and r.version = points.version_on(:day)
