-- What waits for its business date, by feed and day. Parameters: none. Locks: none. Idempotence: a read of what waits.
select 'orders' as feed, effective_on, count(*) as events from points.shop_order where is_waiting group by effective_on
union all
select 'returns', effective_on, count(*) from points.return_line where is_waiting group by effective_on
union all
select 'redemptions', effective_on, count(*) from points.redemption where state = 'waiting' group by effective_on
union all
select 'cancellations', effective_on, count(*) from points.cancellation where state = 'waiting' group by effective_on
union all
select 'activities', effective_on, count(*) from points.activity where state = 'waiting' group by effective_on
order by effective_on, feed
