-- I6: no spend took a lapsed or pending lot (a captured hold may), no expiry took a live one. Points that lapse by
-- inactivity are judged by the activity there was before the entry's journal, deferred ones by the day they were deferred to.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select e.member_id, e.seq,
    format('member_id %s, seq %s: %s on %s of lot %s, usable %s to %s', e.member_id, e.seq, e.kind, e.effective_on, e.lot_seq,
    e.usable_from, e.last_day) as difference
from (
    select
        t.member_id, t.seq, t.kind, t.source, t.effective_on, t.lot_seq, o.usable_from,
        case when d.to_date is not null then d.to_date when o.idle_by is null then o.valid_through else points.last_day(o.valid_through, (
            select max(a.effective_on) from points.entry as a
            where a.member_id = t.member_id and a.seq < t.seq and a.journal_id <> t.journal_id
                and (a.kind in ('earn', 'spend') and a.source <> 'undo' or a.idle_by is not null)
                and a.seq >= (select min(b.seq) from points.entry as b where b.member_id = t.member_id and b.idle_by is not null)
        ), o.idle_by) end as last_day
    from points.entry as t
    inner join points.entry as o on o.member_id = t.member_id and o.seq = t.lot_seq
    left join lateral (
        select max(x.to_date) as to_date from points.lot_deferral as x where x.member_id = t.member_id and x.lot_seq = t.lot_seq
    ) as d on true
    where t.book_date >= CAST(:since AS date) and t.kind in ('spend', 'transfer_out', 'expire')
) as e
where (e.kind in ('spend', 'transfer_out') and e.source <> 'capture'
    and (e.effective_on < e.usable_from or e.effective_on > coalesce(e.last_day, 'infinity')))
    or (e.kind = 'expire' and e.effective_on is distinct from e.last_day + 1)
order by 1, 2
