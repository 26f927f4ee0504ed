-- The first row of a typed redemptions, cancellations or activities file that no shop can mean.
-- Parameters: feed, starts_on. Locks: none. Idempotence: a read.
select
    row_no,
    case when points > 1000000000000 then 'points' when :feed = 'redemptions' then 'redeemed_at'
        when :feed = 'activities' then 'happened_at' else 'cancelled_at' end as column_name,
    case when points > 1000000000000 then points::text else effective_on::text end as value,
    case when points > 1000000000000 then 'is beyond any number of points (limit 1,000,000,000,000)'
        else 'is more than 100 years after the programme began' end as why
from typed_event
where points > 1000000000000 or effective_on > CAST(:starts_on AS date) + 36525
order by row_no limit 1
