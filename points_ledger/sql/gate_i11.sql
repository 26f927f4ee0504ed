-- I11: nothing is negative.
-- Parameters: business_date. Locks: none. Idempotence: a read.
select member_id, 'wallet' as what, CAST(0 AS bigint) as seq,
    format('member_id %s: balance %s, held %s, debt %s', member_id, balance, held, debt) as difference
from points.wallet
where member_id in (select member_id from points.entry where book_date = :business_date) and least(balance, held, debt) < 0
union all
select member_id, 'lot', lot_seq, format('member_id %s, lot %s: remaining %s, held %s', member_id, lot_seq, remaining, held)
from points.lot
where (member_id, lot_seq) in (select member_id, lot_seq from points.entry where book_date = :business_date)
    and (least(remaining, held) < 0 or remaining > points)
union all
select member_id, 'entry', seq,
    format('member_id %s, seq %s: %s points, balance %s, debt %s', member_id, seq, points, balance_after, debt_after)
from points.entry
where book_date = :business_date and (points <= 0 or least(balance_after, debt_after, coalesce(lot_remaining_after, 0)) < 0)
