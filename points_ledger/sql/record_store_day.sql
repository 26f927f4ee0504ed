-- Adds a business date to the past of each store that had orders posted on it. Parameters: day. Locks: the new rows.
-- Idempotence: one row a store and day.
insert into points.store_day (store, business_date, orders, points)
select o.store, CAST(:day AS date), count(*), sum(e.points)
from points.order_earning as e
inner join points.shop_order as o on o.member_id = e.member_id and o.order_no = e.order_no
where e.posted_on = CAST(:day AS date) and o.store is not null
group by o.store
on conflict do nothing
