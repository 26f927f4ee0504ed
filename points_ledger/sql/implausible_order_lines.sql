-- The first row of a typed orders file that no shop can mean; one such row means the columns are not what they seem.
-- Parameters: zone, starts_on. Locks: none. Idempotence: a read.
select l.row_no, x.column_name, x.value, x.why
from typed_line as l
cross join lateral (
    select 'quantity' as column_name, l.quantity::text as value, 'is beyond any quantity (limit 1,000,000,000)' as why
    where abs(l.quantity) > 1000000000
    union all
    select 'unit_price', l.unit_price::text, 'is beyond any price (limit 1,000,000,000)' where abs(l.unit_price) > 1000000000
    union all
    select 'placed_at', (l.placed_at at time zone :zone)::text, 'is more than 100 years after the programme began'
    where l.placed_at >= CAST(CAST(:starts_on AS date) + 36526 AS timestamp) at time zone :zone
) as x
where l.quantity > 1000000000 or l.quantity < -1000000000 or l.unit_price > 1000000000 or l.unit_price < -1000000000
    or l.placed_at >= CAST(CAST(:starts_on AS date) + 36526 AS timestamp) at time zone :zone
order by l.row_no limit 1
