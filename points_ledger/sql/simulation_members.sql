-- Every member with a wallet, by member_no: tier, balance and debt after the night of a day, and the points used since
-- another (spent, less cancelled; given to others, less received). Parameters: first, through. Locks: none.
-- Idempotence: a read.
select
    m.member_no, coalesce(points.tier_on(m.member_id, CAST(:through AS date) + 1), 'none') as tier, w.balance, w.debt,
    coalesce(u.used, 0)::bigint as used
from points.wallet as w
inner join points.member as m on m.member_id = w.member_id
left join (
    select member_id, sum(-sign * points) as used
    from points.entry
    where book_date >= :first and kind in ('spend', 'spend_reversal', 'transfer_out', 'transfer_in')
    group by member_id
) as u on u.member_id = w.member_id
order by m.member_no
