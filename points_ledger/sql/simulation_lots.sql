-- Lots as their entries before the period leave them: rebuilt as `loyalty verify` does. Parameters: first.
-- Locks: none. Idempotence: a read.
select
    l.member_id, l.lot_seq, l.points, e.remaining, 0 as held, e.expired, l.effective_on, l.usable_from,
    coalesce(d.to_date, e.valid_through) as valid_through, case when d.to_date is null then e.idle_by end as idle_by, l.origin
from points.lot as l
inner join (
    select
        member_id, lot_seq, sum(sign * points)::bigint as remaining,
        coalesce(sum(points) filter (where kind = 'expire'), 0)::bigint as expired,
        max(valid_through) as valid_through, max(idle_by) as idle_by
    from points.entry
    where book_date < :first and lot_seq is not null
    group by member_id, lot_seq
) as e on e.member_id = l.member_id and e.lot_seq = l.lot_seq
left join (
    select member_id, lot_seq, max(to_date) as to_date from points.lot_deferral where business_date < :first group by member_id, lot_seq
) as d on d.member_id = l.member_id and d.lot_seq = l.lot_seq
