-- Points that lapsed under a version that asks for a notice, although none that named their last day was accepted in time, and
-- nothing excuses it: the member was unreachable and the programme says expire, or the points were given back since.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
with lapsed as materialized (
    select e.member_id, e.lot_seq, e.seq, e.points, e.effective_on - 1 as last_day, coalesce(r.business_date, e.book_date - 1) as closed
    from points.entry as e
    left join points.run as r on r.run_id = e.run_id
    where e.book_date >= CAST(:since AS date) and e.kind = 'expire'
),
asked as materialized (
    select d.closed, g.min_days
    from (select distinct closed from lapsed) as d
    inner join points.expiry_gate as g on g.version = points.version_on(d.closed) and g.required
)
select l.member_id, l.lot_seq, format('member_id %s, lot %s: %s points lapsed after %s; a notice of that day was accepted %s, asked for by %s',
    l.member_id, l.lot_seq, l.points, l.last_day, coalesce(w.accepted_on::text, 'never'), l.last_day - a.min_days) as difference
from lapsed as l
inner join asked as a on a.closed = l.closed
left join points.expiry_warning as w on w.member_id = l.member_id and w.lapses_on = l.last_day
where coalesce(w.accepted_on > l.last_day - a.min_days, true)
    and not exists (select from points.unannounced_expiry as u where u.member_id = l.member_id and u.lot_seq = l.lot_seq)
    and not exists (select from points.one_use as x where x.what = 'reversal' and x.member_id = l.member_id and x.ref = l.seq)
order by 1, 2
