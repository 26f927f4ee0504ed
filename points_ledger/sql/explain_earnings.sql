-- What each order of a member earned, by rate and multipliers, and its bonuses; and the bonuses of activities.
-- Parameters: member_id. Locks: none. Idempotence: a read. A bonus has no lines and no rate.
select
    e.lot_seq, count(*)::int as lines, sum(l.quantity * l.unit_price) as amount, r.amount as points_per_unit,
    coalesce(m.factor, 1) as factor, m.names as rule,
    case when r.spent_window is not null then concat_ws(' ', 'spent before, by', replace(r.spent_window, '_', ' ') || ':',
        'from ' || coalesce(r.spent_from, 0), 'below ' || r.spent_below) end as band,
    sum(l.quantity * l.unit_price * r.amount * coalesce(m.factor, 1)) as points
from points.order_earning as e
cross join lateral unnest(e.lines, e.rates, e.multipliers) as u (line_no, rate, multiplier)
inner join points.order_line as l on l.member_id = e.member_id and l.order_no = e.order_no and l.line_no = u.line_no
inner join points.policy_rule as r on r.version = e.policy_version and r.kind = 'rate' and r.position = u.rate
left join lateral (
    select points.product(x.amount) as factor,
        string_agg(coalesce(x.name, 'multiplier ' || x.position), ' × ' order by x.position) as names
    from points.policy_rule as x
    where x.version = e.policy_version and x.kind = 'multiplier'
        and x.position = any(string_to_array(u.multiplier, '+')::smallint [])
) as m on true
where e.member_id = :member_id and e.lot_seq is not null
group by e.lot_seq, r.position, r.amount, r.spent_window, r.spent_from, r.spent_below, u.multiplier, m.factor, m.names
union all
select e.lot_seq, 0, 0, 0, 1, coalesce(b.name, 'bonus ' || b.position), null, b.amount
from points.order_earning as e
inner join points.policy_rule as b on b.version = e.policy_version and b.kind = 'bonus' and b.position = any(e.bonuses)
where e.member_id = :member_id and e.lot_seq is not null
union all
select
    e.lot_seq, 0, 0, 0, 1,
    b.activity_count || ' × ' || b.activity
        || case b.per when 'day' then ' on ' || a.effective_on when 'week' then ' in the week of ' || points.period_from(b.per, a.effective_on)
            when 'month' then ' in ' || to_char(a.effective_on, 'YYYY-MM') else '' end
        || coalesce(' (' || b.name || ')', ''),
    null, e.points
from points.activity_earning as e
inner join points.activity as a on a.activity_no = e.activity_no
inner join points.policy_rule as b on b.version = e.policy_version and b.kind = 'bonus' and b.position = e.bonus
where e.member_id = :member_id
order by lot_seq, lines desc, rule nulls first
