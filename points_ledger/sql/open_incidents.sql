-- Checks that are not green, stop before warn, the oldest first. Parameters: none. Locks: none. Idempotence: a read.
select check_id, severity, owner, last_outcome, message, offending, worst, runs, opened_on, last_on, acknowledged_by, muted_until
from points.incident
where closed_by is null
order by severity, opened_on, check_id
