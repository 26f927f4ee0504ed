-- Activities by nobody the programme knows, when their day is being closed, become findings. Parameters: through.
-- Locks: the rows. Idempotence: a refused one waits no longer; unique (reason, feed, ref).
with refused as (
    update points.activity set state = 'refused'
    where state = 'waiting' and effective_on <= :through
    returning activity_no, member_no, activity, file_id
)
insert into points.finding (reason, feed, ref, found_on, member_no, file_id, detail)
select 'unknown_member', 'activities', activity_no, :through, member_no, file_id, jsonb_build_object('activity', activity)
from refused
on conflict do nothing
