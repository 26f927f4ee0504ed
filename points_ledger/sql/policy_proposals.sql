-- Proposed programmes, oldest first, and what became of them. Parameters: proposal_id, approval_id (null: every one).
-- Locks: none.
select
    p.proposal_id, p.approval_id, p.base_version, p.effective_from, p.document, p.sha256, p.changes, p.reason, p.proposed_by,
    p.proposed_at, a.approved_by, v.version,
    case when v.version is null then nullif(newest.version, p.base_version) end as overtaken_by
from points.policy_proposal as p
cross join (select max(version) as version from points.policy_version) as newest
left join points.approval as a on a.approval_id = p.approval_id
left join points.policy_version as v on v.proposal_id = p.proposal_id
where (CAST(:proposal_id AS bigint) is null or p.proposal_id = :proposal_id)
    and (CAST(:approval_id AS bigint) is null or p.approval_id = :approval_id)
order by p.proposal_id
