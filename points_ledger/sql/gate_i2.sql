-- I2: what is left of a lot is its points less what its entries took.
-- Parameters: business_date. Locks: none. Idempotence: a read.
select l.member_id, l.lot_seq,
    format('member_id %s, lot %s: remaining %s, entries say %s', l.member_id, l.lot_seq, l.remaining, e.remaining) as difference
from points.lot as l
inner join (
    select member_id, lot_seq, sum(sign * points) as remaining
    from points.entry
    where member_id in (select member_id from points.entry where book_date = :business_date) and lot_seq is not null
    group by member_id, lot_seq
) as e on e.member_id = l.member_id and e.lot_seq = l.lot_seq
where l.remaining <> e.remaining
