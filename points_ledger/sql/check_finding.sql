-- One finding of a check. Parameters: finding_no. Locks: none. Idempotence: a read.
select finding_no, check_id, severity, key, difference, first_seen, last_seen, cleared_on, waived_by, waived_until, waived_why
from points.check_finding
where finding_no = :finding_no
