-- Nobody earned more in a day than the programme's daily cap.
-- Parameters: none. Locks: none. Idempotence: a read.
select o.member_id, o.effective_on, format('member_id %s, %s: earned %s, the cap is %s', o.member_id, o.effective_on, sum(x.points),
    max(p.daily_cap)) as difference
from points.order_earning as x
inner join points.shop_order as o on o.member_id = x.member_id and o.order_no = x.order_no
inner join points.policy as p on p.version = x.policy_version and p.daily_cap > 0
group by o.member_id, o.effective_on
having sum(x.points) > max(p.daily_cap)
order by 1, 2
