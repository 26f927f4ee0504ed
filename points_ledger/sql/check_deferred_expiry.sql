-- A lapsed lot waits for the hold on it no longer than 31 days.
-- Parameters: as_of. Locks: none. Idempotence: a read of due lots.
select member_id, lot_seq, format('member_id %s, lot %s: %s points held since before %s, its last valid day', member_id, lot_seq,
    held, valid_through) as difference
from points.lot
where is_open and held > 0 and valid_through < CAST(:as_of AS date) - 31
order by 1, 2
