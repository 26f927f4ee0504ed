-- A redemption is posted exactly when points were spent for it, and as many as it asked for.
-- Parameters: none. Locks: none. Idempotence: a read.
select coalesce(r.redemption_no, e.source_ref) as redemption_no, format('redemption %s: %s for %s points, spent %s',
    coalesce(r.redemption_no, e.source_ref), coalesce(r.state, 'not known'), r.points, coalesce(e.points, 0)) as difference
from points.redemption as r
full join (
    select source_ref, min(member_id) as member_id, sum(points) as points
    from points.entry where kind = 'spend' and source = 'redemption'
    group by source_ref
) as e on e.source_ref = r.redemption_no
where case when r.state in ('posted', 'undone') then (e.points, e.member_id) is distinct from (r.points, r.member_id) else e.points is not null end
order by 1
