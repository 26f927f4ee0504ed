-- What was sent of a notice, attempt by attempt, or of the digest it is part of; sealed, with the key that opens it as long as the
-- member is not erased. Parameters: notice_id. Locks: none. Idempotence: a read.
select p.notice_id, p.attempt, n.member_id, p.sealed, p.template_version, y.content, c.key_wrapped, c.key_id
from points.notice_proof as p
inner join points.notice as n on n.notice_id = p.notice_id
inner join points.proof_dictionary as y on y.template_version = p.template_version
left join points.contact as c on c.member_id = n.member_id
where p.notice_id = coalesce((select d.digest_id from points.digest_part as d where d.notice_id = :notice_id), :notice_id)
order by p.attempt
