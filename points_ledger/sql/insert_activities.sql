-- Stores the accepted activities of a file, as waiting events. Parameters: file_id.
-- Locks: the new rows. Idempotence: primary key activity_no; the caller has set known ones aside.
insert into points.activity (activity_no, member_no, activity, happened_at, effective_on, store, channel, fingerprint, file_id)
select event_no, member_no, activity, happened_at, effective_on, store, channel, fingerprint, :file_id
from typed_event
where reason is null and not is_known
