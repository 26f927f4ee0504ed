-- Stores the accepted cancellations of a file, as waiting events. Parameters: file_id.
-- Locks: the new rows. Idempotence: primary key redemption_no; the caller has set known ones aside.
insert into points.cancellation (redemption_no, cancelled_at, effective_on, fingerprint, file_id)
select event_no, happened_at, effective_on, fingerprint, :file_id
from typed_event
where reason is null and not is_known
