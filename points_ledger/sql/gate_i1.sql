-- I1 and I14: a wallet is the sum of its entries, its debt owe minus repay, and their numbers are dense.
-- Parameters: business_date. Locks: none. Idempotence: a read.
select w.member_id,
    format('member_id %s: wallet %s, debt %s, seq %s; entries %s, debt %s, %s rows up to seq %s',
    w.member_id, w.balance, w.debt, w.seq, e.balance, e.debt, e.n, e.last_seq) as difference
from points.wallet as w
inner join (
    select member_id, sum(sign * points) as balance, count(*) as n, max(seq) as last_seq,
        sum(case kind when 'owe' then points when 'repay' then -points else 0 end) as debt
    from points.entry
    where member_id in (select member_id from points.entry where book_date = :business_date)
    group by member_id
) as e on e.member_id = w.member_id
where (w.balance, w.debt, w.seq, w.seq) is distinct from (e.balance, e.debt, e.n, e.last_seq)
