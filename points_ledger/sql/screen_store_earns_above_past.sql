-- Stores whose orders earned far more on a day than on their own days before; measured as for members. Design 2.9.
-- Parameters: day, history_days, min_history, deviations, store_earned_min. Locks: none. Idempotence: a read of store_day,
-- one row a store and day.
select
    t.store as subject, CAST(null AS bigint) as member_id,
    jsonb_build_object('points', t.points, 'orders', t.orders, 'median', past.median, 'deviation', usual.deviation,
        'days', past.days) as facts
from points.store_day as t
cross join lateral (
    select count(*) as days, percentile_cont(0.5) within group (order by d.points)::numeric as median, array_agg(d.points) as each_day
    from points.store_day as d
    where d.store = t.store and d.business_date < CAST(:day AS date)
        and d.business_date >= CAST(:day AS date) - CAST(:history_days AS int)
) as past
cross join lateral (
    select round(greatest(1.4826 * percentile_cont(0.5) within group (order by abs(x - past.median))::numeric,
        past.median / 10, 1), 1) as deviation
    from unnest(past.each_day) as x
) as usual
where t.business_date = CAST(:day AS date) and t.points >= :store_earned_min
    and past.days >= :min_history and t.points > past.median + :deviations * usual.deviation
order by t.store
