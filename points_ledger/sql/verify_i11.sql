-- I11: nothing is negative.
-- Parameters: none. Locks: none. Idempotence: a read.
select member_id, 'wallet' as what, CAST(0 AS bigint) as seq,
    format('member_id %s: balance %s, held %s, debt %s', member_id, balance, held, debt) as difference
from points.wallet where least(balance, held, debt, balance - held) < 0
union all
select member_id, 'lot', lot_seq, format('member_id %s, lot %s: %s of %s left, %s held', member_id, lot_seq, remaining, points, held)
from points.lot where least(remaining, held, points - remaining, remaining - held) < 0
union all
select member_id, 'entry', seq,
    format('member_id %s, seq %s: %s points, balance %s, debt %s', member_id, seq, points, balance_after, debt_after)
from points.entry where points <= 0 or least(balance_after, debt_after, coalesce(lot_remaining_after, 0)) < 0
order by 1, 2, 3
