-- Wallets as their entries before the period leave them. One that was opened later is opened again by the order that
-- opened it; a member without orders is there from the start. Nothing is held: see docs/decisions. Parameters: first.
-- Locks: none. Idempotence: a read.
select
    w.member_id, coalesce(e.balance_after, 0) as balance, 0 as held, coalesce(e.debt_after, 0) as debt, coalesce(e.seq, 0) as seq,
    coalesce(e.book_date, '-infinity') as last_book, a.active_on, false as is_blocked
from points.wallet as w
left join points.last_activities(CAST(:first AS date)) as a on a.member_id = w.member_id
inner join points.member as m on m.member_id = w.member_id
left join (
    select distinct on (member_id) member_id, seq, book_date, balance_after, debt_after
    from points.entry
    where book_date < :first
    order by member_id, seq desc
) as e on e.member_id = w.member_id
where e.member_id is not null or m.joined_on < :first
    or not exists (select from points.shop_order as o where o.member_id = w.member_id and o.purchase_lines > 0)
