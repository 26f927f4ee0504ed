-- The promotion (a multiplier that ends by itself) that most orders earned with, and how many. Parameters: none.
-- Locks: none. Idempotence: a read.
select r.name, count(distinct (e.member_id, e.order_no)) as orders
from points.order_earning as e
cross join lateral unnest(e.multipliers) as m (positions)
cross join lateral string_to_table(m.positions::text, '+') as p (position)
inner join points.policy_rule as r on r.version = e.policy_version and r.kind = 'multiplier' and r.position = p.position::smallint
where r.through_on is not null
group by r.name
order by orders desc, r.name
limit 1
