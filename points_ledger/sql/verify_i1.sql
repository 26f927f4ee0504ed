-- I1, I14: every wallet rebuilt from its entries; also wallets without entries and entries without a wallet.
-- Parameters: none. Locks: none. Idempotence: a read.
select coalesce(w.member_id, e.member_id) as member_id,
    format('member_id %s: wallet says balance %s, debt %s, seq %s, active on %s;'
        ' its entries say %s, %s, %s, %s', coalesce(w.member_id, e.member_id),
    w.balance, w.debt, w.seq, w.active_on, e.balance, e.debt, e.n, a.active_on) as difference
from points.wallet as w
full join (
    select member_id, sum(sign * points) as balance, count(*) as n, max(seq) as last_seq, max(book_date) as last_book,
        sum(case kind when 'owe' then points when 'repay' then -points else 0 end) as debt
    from points.entry
    group by member_id
) as e on e.member_id = w.member_id
left join points.last_activities('infinity') as a on a.member_id = coalesce(w.member_id, e.member_id)
where w.member_id is null
    or (w.balance, w.debt, w.seq, w.seq, w.last_book, w.active_on)
    is distinct from (coalesce(e.balance, 0), coalesce(e.debt, 0), coalesce(e.n, 0), coalesce(e.last_seq, 0),
        coalesce(e.last_book, '-infinity'), a.active_on)
order by 1
