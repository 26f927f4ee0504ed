-- Proposes a programme (points.propose_policy). Parameters: document and changes (JSON as text), effective_from,
-- base_version, needs_approval, reason. Locks: policy_version against other writers; posting of orders for a moment.
-- Idempotence: unique key (base_version, effective_from, sha256).
select proposal_id
from points.propose_policy(CAST(:document AS jsonb), CAST(:effective_from AS date), CAST(:base_version AS int),
    CAST(:changes AS jsonb), CAST(:needs_approval AS boolean), CAST(:reason AS text))
