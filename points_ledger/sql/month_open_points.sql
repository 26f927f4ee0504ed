-- What is left of the lots after the entries booked by a month's end: by the month they were opened in, and the month of
-- their last day (null: none); of points that lapse by inactivity, the last day by the activity there was by then, of deferred
-- ones the day that the closes of the month gave them.
-- Parameters: through. Locks: none. Idempotence: a read.
select
    to_char(o.book_date, 'YYYY-MM') as opened, to_char(coalesce(d.to_date, points.last_day(o.valid_through, a.active_on, o.idle_by)), 'YYYY-MM') as lapses,
    o.usable_from > :through as is_pending, count(*) as lots, sum(e.remaining)::bigint as points
from (
    select member_id, lot_seq, sum(sign * points) as remaining
    from points.entry
    where book_date <= :through and lot_seq is not null
    group by member_id, lot_seq
    having sum(sign * points) <> 0
) as e
inner join points.entry as o on o.member_id = e.member_id and o.seq = e.lot_seq and o.book_date <= :through
left join points.last_activities(CAST(:through AS date) + 1) as a on a.member_id = e.member_id and o.idle_by is not null
left join (
    select member_id, lot_seq, max(to_date) as to_date from points.lot_deferral where business_date <= :through group by member_id, lot_seq
) as d on d.member_id = e.member_id and d.lot_seq = e.lot_seq
group by 1, 2, 3
order by 1, 2 nulls last, 3
