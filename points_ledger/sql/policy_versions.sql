-- Every version of the programme, oldest first, with its proposal and approval. Parameters: none. Locks: none.
select
    v.version, v.effective_from, (lead(v.effective_from) over (order by v.version)) - 1 as effective_through,
    v.document, v.sha256, v.added_by, v.added_at, a.approval_id, p.proposed_by, a.approved_by, p.reason
from points.policy_version as v
left join points.policy_proposal as p on p.proposal_id = v.proposal_id
left join points.approval as a on a.approval_id = p.approval_id
order by v.version
