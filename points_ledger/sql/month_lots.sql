-- Lots that were open when a month began, were moved in it, or are open at its end: what was left by the entries before it,
-- and what is left at its end by the lot of today, less what was booked since. Parameters: first, through. Locks: none.
-- Idempotence: a read. The two ends come from two sides: the month's entries must lead from one to the other.
with moved as (
    select member_id, lot_seq, coalesce(sum(sign * points) filter (where book_date < :first), 0)::bigint as opening,
        coalesce(sum(sign * points) filter (where book_date > :through), 0)::bigint as since,
        coalesce(bool_or(book_date between :first and :through), false) as is_moved
    from points.entry
    where lot_seq is not null
    group by member_id, lot_seq
)
select l.member_id, l.lot_seq, l.points, l.effective_on, l.usable_from, l.valid_through, l.idle_by, l.origin,
    coalesce(v.opening, 0) as opening, l.remaining - coalesce(v.since, 0) as closing
from points.lot as l
left join moved as v on v.member_id = l.member_id and v.lot_seq = l.lot_seq
where coalesce(v.is_moved, false) or coalesce(v.opening, 0) <> 0 or l.remaining <> coalesce(v.since, 0)
order by l.member_id, l.lot_seq
