-- Every member with an entry booked by a day, as the last of them left it. Parameters: as_of.
-- Locks: none. Idempotence: a read.
select m.member_no, e.balance_after as balance, e.debt_after as debt
from (
    select distinct on (member_id) member_id, balance_after, debt_after
    from points.entry
    where book_date <= :as_of
    order by member_id, seq desc
) as e
inner join points.member as m on m.member_id = e.member_id
order by m.member_no collate "C"
