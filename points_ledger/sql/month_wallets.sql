-- Wallets at a month's end: those of today, less what was booked since. Parameters: through. Locks: none.
-- Idempotence: a read. Held against what the entries say, this shows a wallet that was changed without one.
with since as (
    select member_id, count(*) as n, sum(sign * points)::bigint as moved,
        sum(case kind when 'owe' then points when 'repay' then -points else 0 end)::bigint as owed
    from points.entry
    where book_date > :through
    group by member_id
)
select w.member_id, m.member_no, w.seq - coalesce(n.n, 0) as entries, w.balance - coalesce(n.moved, 0) as balance,
    w.debt - coalesce(n.owed, 0) as debt
from points.wallet as w
left join points.member as m on m.member_id = w.member_id
left join since as n on n.member_id = w.member_id
where w.seq - coalesce(n.n, 0) <> 0 or w.balance <> coalesce(n.moved, 0) or w.debt <> coalesce(n.owed, 0)
order by w.member_id
