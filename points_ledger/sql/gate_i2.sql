-- I2 for a day: a lot holds what its last entry left in it, and its entries since chain. What came before was checked on
-- its own day; verify_i2 sums the whole history.
-- Parameters: business_date. Locks: none. Idempotence: a read. Cost: the entries booked from that day on.
select l.member_id, l.lot_seq,
    format('member_id %s, lot %s: remaining %s, its last entry says %s%s', l.member_id, l.lot_seq, l.remaining, e.after,
    case when e.chains then '' else ', entries do not chain' end) as difference
from (
    select member_id, lot_seq, max(lot_remaining_after) filter (where back = 1) as after,
        bool_and(lot_remaining_after - sign * points = coalesce(before, case when seq = lot_seq then 0 end,
            lot_remaining_after - sign * points)) as chains
    from (
        select member_id, lot_seq, seq, sign, points, lot_remaining_after, lag(lot_remaining_after) over w as before,
            row_number() over (partition by member_id, lot_seq order by seq desc) as back
        from points.entry
        where book_date >= :business_date and lot_seq is not null
        window w as (partition by member_id, lot_seq order by seq)
    ) as recent
    group by member_id, lot_seq
) as e
inner join points.lot as l on l.member_id = e.member_id and l.lot_seq = e.lot_seq
where l.remaining <> e.after or not e.chains
