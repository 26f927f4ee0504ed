-- An order was judged by the version of the programme that was in force on its effective date.
-- Parameters: none. Locks: none. Idempotence: a read. Once a day, not once an order.
with days as materialized (
    select effective_on, points.version_on(effective_on) as version
    from (select distinct effective_on from points.shop_order) as d
)
select x.member_id, x.order_no, format('member_id %s, order %s of %s: judged by version %s, in force was %s', x.member_id,
    x.order_no, o.effective_on, x.policy_version, d.version) as difference
from points.order_earning as x
inner join points.shop_order as o on o.member_id = x.member_id and o.order_no = x.order_no
inner join days as d on d.effective_on = o.effective_on
where x.policy_version <> d.version
order by 1, 2
