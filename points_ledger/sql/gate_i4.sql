-- I4: running balances chain from entry to entry.
-- Parameters: business_date. Locks: none. Idempotence: a read.
select member_id, seq,
    format('member_id %s, seq %s: %s after %s and %s%s', member_id, seq, balance_after, before, sign * points,
    case when debt_after <> debt_before + owed then ', debt does not chain' else '' end) as difference
from (
    select member_id, seq, book_date, balance_after, debt_after, sign, points,
        coalesce(lag(balance_after) over w, 0) as before, coalesce(lag(debt_after) over w, 0) as debt_before,
        case kind when 'owe' then points when 'repay' then -points else 0 end as owed
    from points.entry
    where member_id in (select member_id from points.entry where book_date = :business_date)
    window w as (partition by member_id order by seq)
) as chain
where book_date = :business_date and (balance_after <> before + sign * points or debt_after <> debt_before + owed)
