-- Stores the accepted redemptions of a file, as waiting events. Parameters: file_id.
-- Locks: the new rows. Idempotence: primary key redemption_no; the caller has set known ones aside.
insert into points.redemption (redemption_no, member_no, redeemed_at, effective_on, points, reward, fingerprint, file_id)
select event_no, member_no, happened_at, effective_on, points::bigint, reward, fingerprint, :file_id
from typed_event
where reason is null and not is_known
