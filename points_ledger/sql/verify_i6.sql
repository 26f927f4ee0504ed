-- I6: no spend took a lapsed or pending lot (a captured hold may), no expiry took a live one.
-- Parameters: none. Locks: none. Idempotence: a read.
select format('member_id %s, seq %s: %s on %s of lot %s, usable %s to %s', e.member_id, e.seq, e.kind, e.effective_on, e.lot_seq,
    o.usable_from, o.valid_through) as difference
from points.entry as e
inner join points.entry as o on o.member_id = e.member_id and o.seq = e.lot_seq
where (e.kind in ('spend', 'transfer_out') and e.source <> 'capture'
    and (e.effective_on < o.usable_from or e.effective_on > coalesce(o.valid_through, 'infinity')))
    or (e.kind = 'expire' and e.effective_on is distinct from o.valid_through + 1)
order by 1
