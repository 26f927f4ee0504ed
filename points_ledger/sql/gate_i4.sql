-- I4 for a day: running balances chain from entry to entry, the first one from the member's entry before the day.
-- Parameters: business_date. Locks: none. Idempotence: a read. Cost: the entries booked that day, and one before each member's.
select member_id, seq,
    format('member_id %s, seq %s: %s after %s and %s%s', member_id, seq, balance_after, before, moved,
    case when debt_after <> debt_before + owed then ', debt does not chain' else '' end) as difference
from (
    select d.member_id, d.seq, d.balance_after, d.debt_after, d.moved, d.owed,
        case when d.is_first then coalesce(p.balance_after, 0) else d.balance_was end as before,
        case when d.is_first then coalesce(p.debt_after, 0) else d.debt_was end as debt_before
    from (
        select member_id, seq, balance_after, debt_after, sign * points as moved,
            case kind when 'owe' then points when 'repay' then -points else 0 end as owed,
            lag(balance_after) over w as balance_was, lag(debt_after) over w as debt_was, row_number() over w = 1 as is_first
        from points.entry
        where book_date = :business_date
        window w as (partition by member_id order by seq)
    ) as d
    left join lateral (
        select b.balance_after, b.debt_after from points.entry as b
        where b.member_id = d.member_id and b.seq = case when d.is_first then d.seq - 1 end and b.book_date <= :business_date
    ) as p on true
) as chain
where balance_after <> before + moved or debt_after <> debt_before + owed
