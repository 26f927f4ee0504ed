-- What was refused of a member's events, and why. Parameters: member_no, as_of. Locks: none. Idempotence: a read.
select reason, feed, ref, found_on, detail
from points.finding
where member_no = :member_no and coalesce(found_on, '-infinity') <= :as_of
order by found_on nulls first, finding_id
