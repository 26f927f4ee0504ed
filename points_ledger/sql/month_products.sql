-- What the products of the orders that a month's nights judged earned, before rounding, bonuses and caps, best first.
-- Parameters: first, through, most. Locks: none. Idempotence: a read.
select l.sku, count(*) as lines, sum(l.quantity) as quantity, sum(l.quantity * l.unit_price) as amount,
    trim_scale(sum(l.quantity * l.unit_price * rate.amount * m.factor)) as points
from points.order_earning as x
cross join lateral unnest(x.lines, x.rates, x.multipliers) as u (line_no, rate, multipliers)
inner join points.order_line as l on l.member_id = x.member_id and l.order_no = x.order_no and l.line_no = u.line_no
inner join points.policy_rule as rate on rate.version = x.policy_version and rate.kind = 'rate' and rate.position = u.rate
cross join lateral (
    select coalesce(points.product(r.amount), 1) as factor from points.policy_rule as r
    where u.multipliers <> '0' and r.version = x.policy_version and r.kind = 'multiplier'
        and r.position = any(string_to_array(u.multipliers, '+')::smallint [])
) as m
where x.posted_on between :first and :through
group by l.sku
order by sum(l.quantity * l.unit_price * rate.amount * m.factor) desc, l.sku
limit :most
