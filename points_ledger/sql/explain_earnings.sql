-- What each order of a member earned, by rate and multiplier. Parameters: member_id. Locks: none. Idempotence: a read.
select
    e.lot_seq, count(*)::int as lines, sum(l.quantity * l.unit_price) as amount, r.amount as points_per_unit,
    coalesce(m.amount, 1) as factor, coalesce(m.name, case when m.position is not null then 'multiplier ' || m.position end) as rule,
    sum(l.quantity * l.unit_price * r.amount * coalesce(m.amount, 1)) as points
from points.order_earning as e
cross join lateral unnest(e.lines, e.rates, e.multipliers) as u (line_no, rate, multiplier)
inner join points.order_line as l on l.member_id = e.member_id and l.order_no = e.order_no and l.line_no = u.line_no
inner join points.policy_rule as r on r.version = e.policy_version and r.kind = 'rate' and r.position = u.rate
left join points.policy_rule as m on m.version = e.policy_version and m.kind = 'multiplier' and m.position = u.multiplier
where e.member_id = :member_id and e.lot_seq is not null
group by e.lot_seq, r.position, r.amount, m.position, m.amount, m.name
order by e.lot_seq, m.position nulls first
