-- A cancellation is posted exactly when the points of its redemption were given back, all of them.
-- Parameters: none. Locks: none. Idempotence: a read.
select coalesce(c.redemption_no, e.source_ref) as redemption_no, format('cancellation of redemption %s: %s, redeemed %s, given back %s',
    coalesce(c.redemption_no, e.source_ref), coalesce(c.state, 'not known'), r.points, coalesce(e.points, 0)) as difference
from points.cancellation as c
full join (
    select source_ref, sum(points) as points from points.entry where kind = 'spend_reversal' and source = 'cancellation' group by source_ref
) as e on e.source_ref = c.redemption_no
left join points.redemption as r on r.redemption_no = c.redemption_no
where case when c.state = 'posted' then e.points is distinct from r.points else e.points is not null end
order by 1
