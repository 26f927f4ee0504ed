-- Findings of checks: open ones first, the newest first. Parameters: only_open, check_id (null: all), limit.
-- Locks: none. Idempotence: a read.
select finding_no, check_id, severity, key, difference, first_seen, last_seen, cleared_on, waived_by, waived_until, waived_why
from points.check_finding
where (cleared_by is null or not CAST(:only_open AS boolean)) and (CAST(:check_id AS text) is null or check_id = :check_id)
order by cleared_by is not null, severity, first_seen desc, finding_no
limit :limit
