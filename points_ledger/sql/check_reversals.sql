-- What reverses an entry names one that is there, of the kind it reverses, and gives back no more than it took.
-- Parameters: none. Locks: none. Idempotence: a read. An undo may answer any kind.
select r.member_id, r.reversal_of, format('member_id %s, seq %s: %s of %s points answered by %s with %s points', r.member_id,
    r.reversal_of, coalesce(o.kind, 'no entry'), coalesce(o.points, 0), r.kinds, r.points) as difference
from (
    select member_id, reversal_of, sum(points) as points, string_agg(distinct kind, ', ' order by kind) as kinds, min(seq) as seq,
        bool_or(kind = 'spend_reversal' and source <> 'undo') as spend, bool_or(kind = 'reinstate' and source <> 'undo') as lapse
    from points.entry
    where reversal_of is not null
    group by member_id, reversal_of
) as r
left join points.entry as o on o.member_id = r.member_id and o.seq = r.reversal_of
where o.seq is null or o.seq >= r.seq or r.points > o.points or (r.spend and o.kind <> 'spend') or (r.lapse and o.kind <> 'expire')
order by 1, 2
