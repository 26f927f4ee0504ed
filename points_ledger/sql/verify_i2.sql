-- I2: every lot rebuilt from its entries, with its dates; also lots no entry opened and entries on no lot.
-- A deferred lot has the last day its newest deferral gave it. Parameters: none. Locks: none. Idempotence: a read.
select coalesce(l.member_id, e.member_id) as member_id, coalesce(l.lot_seq, e.lot_seq) as lot_seq,
    format('member_id %s, lot %s: the lot says %s of %s left, %s expired, usable %s to %s; its entries say %s of %s, %s, %s to %s',
    coalesce(l.member_id, e.member_id), coalesce(l.lot_seq, e.lot_seq), l.remaining, l.points, l.expired, l.usable_from, l.valid_through,
    e.remaining, e.points, e.expired, e.usable_from, coalesce(d.to_date, e.valid_through)) as difference
from points.lot as l
full join (
    select member_id, lot_seq, sum(sign * points) as remaining,
        coalesce(sum(points) filter (where kind = 'expire'), 0) as expired,
        max(points) filter (where seq = lot_seq) as points, max(usable_from) as usable_from, max(valid_through) as valid_through,
        max(idle_by) as idle_by,
        max(effective_on) filter (where seq = lot_seq) as effective_on
    from points.entry
    where lot_seq is not null
    group by member_id, lot_seq
) as e on e.member_id = l.member_id and e.lot_seq = l.lot_seq
left join points.deferred_lot as d on d.member_id = e.member_id and d.lot_seq = e.lot_seq
where (l.remaining, l.points, l.expired, l.usable_from, l.valid_through, l.idle_by, l.effective_on)
    is distinct from (e.remaining, e.points, e.expired, e.usable_from, coalesce(d.to_date, e.valid_through),
        case when d.to_date is null then e.idle_by end, e.effective_on)
order by 1, 2
