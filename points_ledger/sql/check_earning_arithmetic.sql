-- What an order earned, computed again from its lines with the rates, multipliers and bonuses it was judged by.
-- Parameters: none. Locks: none. Idempotence: a read. A daily cap can only lower the points.
with counted as (
    select x.member_id, x.order_no, coalesce(sum(l.amount), 0) as eligible, coalesce(sum(l.amount * rate.amount * m.factor), 0) as exact
    from points.order_earning as x
    left join lateral unnest(x.lines, x.rates, x.multipliers) as u (line_no, rate, multipliers) on true
    left join lateral (
        select quantity * unit_price as amount from points.order_line as l
        where l.member_id = x.member_id and l.order_no = x.order_no and l.line_no = u.line_no
    ) as l on true
    left join points.policy_rule as rate on rate.version = x.policy_version and rate.kind = 'rate' and rate.position = u.rate
    left join lateral (
        select coalesce(points.product(r.amount), 1) as factor from points.policy_rule as r
        where u.multipliers <> '0' and r.version = x.policy_version and r.kind = 'multiplier'
            and r.position = any(string_to_array(u.multipliers, '+')::smallint [])
    ) as m on true
    group by x.member_id, x.order_no
)
select x.member_id, x.order_no, format('member_id %s, order %s: judged %s eligible, %s points exactly, %s granted; its lines give %s, %s and %s',
    x.member_id, x.order_no, trim_scale(x.eligible_amount), trim_scale(x.exact_points), x.points, trim_scale(c.eligible),
    trim_scale(c.exact), floor(c.exact) + b.points) as difference
from points.order_earning as x
inner join counted as c on c.member_id = x.member_id and c.order_no = x.order_no
inner join points.policy as p on p.version = x.policy_version
cross join lateral (
    select coalesce(sum(r.amount), 0) as points from points.policy_rule as r
    where r.version = x.policy_version and r.kind = 'bonus' and r.position = any(x.bonuses)
) as b
where x.eligible_amount <> c.eligible or x.exact_points <> c.exact or x.points > floor(c.exact) + b.points
    or (p.daily_cap = 0 and x.points <> floor(c.exact) + b.points)
order by 1, 2
