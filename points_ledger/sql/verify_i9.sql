-- I9: nothing is recorded after its day closed.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select e.member_id, e.seq,
    format('member_id %s, seq %s: recorded %s, but %s closed %s', e.member_id, e.seq, e.recorded_at, e.book_date, d.closed_at) as difference
from points.entry as e
left join points.book_day as d on d.book_date = e.book_date
where e.book_date >= CAST(:since AS date) and (d.book_date is null or e.recorded_at > d.closed_at)
order by 1, 2
