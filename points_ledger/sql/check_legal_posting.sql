-- Every entry is a legal posting, by the rules that the trigger asked when it came in; of a known kind, with its sign.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select e.member_id, e.seq, format('member_id %s, seq %s: %s with sign %s: %s', e.member_id, e.seq, e.kind, e.sign,
    coalesce(r.broken, 'is not the sign of its kind')) as difference
from points.entry as e
left join points.entry_kind as k on k.kind = e.kind
cross join lateral (
    select points.broken_rule(e.kind, e.sign, e.points, e.seq, e.lot_seq, e.lot_remaining_after, e.usable_from, e.valid_through, e.idle_by,
        e.reversal_of, e.approval_id, e.source, e.source_ref) as broken
) as r
where e.book_date >= CAST(:since AS date) and (e.sign is distinct from k.sign or r.broken is not null)
order by 1, 2
