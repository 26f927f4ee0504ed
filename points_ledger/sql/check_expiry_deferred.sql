-- Points that should have lapsed and wait for a notice that names their new last day.
-- Parameters: as_of. Locks: none. Idempotence: a read of deferrals to days from as_of on.
select d.member_id, d.lot_seq, format('member_id %s, lot %s: %s points stay valid through %s instead of %s: %s', d.member_id, d.lot_seq,
    l.remaining, d.to_date, d.from_date, d.why) as difference
from points.lot_deferral as d
inner join points.lot as l on l.member_id = d.member_id and l.lot_seq = d.lot_seq and l.valid_through = d.to_date and l.is_open
where d.to_date >= CAST(:as_of AS date) and d.business_date <= CAST(:as_of AS date)
order by 1, 2
