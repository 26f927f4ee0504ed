-- I4: running balances, debts and lot remainders chain from entry to entry.
-- Parameters: none. Locks: none. Idempotence: a read.
select member_id, seq,
    format('member_id %s, seq %s: balance %s, debt %s, lot left %s; the entries up to it say %s, %s, %s', member_id, seq,
    balance_after, debt_after, lot_remaining_after, balance, debt, remaining) as difference
from (
    select member_id, seq, balance_after, debt_after, lot_remaining_after,
        sum(sign * points) over so_far as balance,
        sum(case kind when 'owe' then points when 'repay' then -points else 0 end) over so_far as debt,
        case when lot_seq is not null
            then sum(sign * points) over (partition by member_id, lot_seq order by seq) end as remaining
    from points.entry
    window so_far as (partition by member_id order by seq)
) as chain
where (balance_after, debt_after, lot_remaining_after) is distinct from (balance, debt, remaining)
order by 1, 2
