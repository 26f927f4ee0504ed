-- Every attempt at every notice to a member, in order; one that waits for its first has no attempt yet, one inside a digest has
-- the digest's. Parameters: member_no. Locks: none. Idempotence: a read.
select
    n.notice_id, n.kind, n.class as class_, n.channel, n.business_date, n.facts, r.attempt, r.result, r.moment, r.provider,
    r.provider_ref, r.detail, p.notice_id is not null as has_proof, d.digest_id
from points.member as m
inner join points.notice as n on n.member_id = m.member_id
left join points.digest_part as d on d.notice_id = n.notice_id
left join points.notice_result as r on r.notice_id = coalesce(d.digest_id, n.notice_id)
left join points.notice_proof as p on p.notice_id = r.notice_id and p.attempt = r.attempt
where m.member_no = :member_no
order by n.business_date, n.notice_id, r.attempt
