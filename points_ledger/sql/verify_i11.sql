-- I11: nothing is negative.
-- Parameters: none. Locks: none. Idempotence: a read.
select format('member_id %s: balance %s, held %s, debt %s', member_id, balance, held, debt) as difference
from points.wallet where least(balance, held, debt, balance - held) < 0
union all
select format('member_id %s, lot %s: %s of %s left, %s held', member_id, lot_seq, remaining, points, held)
from points.lot where least(remaining, held, points - remaining, remaining - held) < 0
union all
select format('member_id %s, seq %s: %s points, balance %s, debt %s', member_id, seq, points, balance_after, debt_after)
from points.entry where points <= 0 or least(balance_after, debt_after, coalesce(lot_remaining_after, 0)) < 0
order by 1
