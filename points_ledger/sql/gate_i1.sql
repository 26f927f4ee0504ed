-- I1 and I14 for a day: a wallet stands where its last entry left it, and the entries since are dense. What came before
-- was checked on its own day; I4 joins the two, verify_i1 sums the whole history.
-- Parameters: business_date. Locks: none. Idempotence: a read. Cost: the entries booked from that day on.
select w.member_id,
    format('member_id %s: wallet %s, debt %s, seq %s; its last entry %s, debt %s, seq %s (%s of %s since seq %s)',
    w.member_id, w.balance, w.debt, w.seq, e.balance_after, e.debt_after, e.seq, e.n, e.seq - e.first_seq + 1, e.first_seq)
        as difference
from (
    select member_id, seq, balance_after, debt_after, row_number() over (partition by member_id order by seq desc) as back,
        count(*) over (partition by member_id) as n, min(seq) over (partition by member_id) as first_seq
    from points.entry
    where book_date >= :business_date
) as e
inner join points.wallet as w on w.member_id = e.member_id
where e.back = 1
    and ((w.balance, w.debt, w.seq) is distinct from (e.balance_after, e.debt_after, e.seq) or e.seq - e.first_seq + 1 <> e.n)
