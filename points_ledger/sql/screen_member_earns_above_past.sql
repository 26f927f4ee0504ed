-- Members who earned far more on a day than on their own earning days before: above the median by so many robust
-- deviations (1.4826 x the median absolute deviation, and at least a tenth of the median). Design 2.9.
-- Parameters: day, history_days, min_history, deviations, member_earned_min. Locks: none. Idempotence: a read; costs the
-- members who earned enough that day, times their own earnings.
select
    m.member_no as subject, t.member_id,
    jsonb_build_object('points', t.points, 'median', past.median, 'deviation', usual.deviation, 'days', past.days) as facts
from (
    select e.member_id, sum(e.points)::bigint as points
    from points.entry as e
    where e.book_date = CAST(:day AS date) and e.kind = 'earn'
    group by e.member_id
    having sum(e.points) >= :member_earned_min
) as t
cross join lateral (
    select count(*) as days, percentile_cont(0.5) within group (order by d.points)::numeric as median, array_agg(d.points) as each_day
    from (
        select sum(e.points)::numeric as points
        from points.entry as e
        where e.member_id = t.member_id and e.kind = 'earn' and e.book_date < CAST(:day AS date)
            and e.book_date >= CAST(:day AS date) - CAST(:history_days AS int)
        group by e.book_date
    ) as d
) as past
cross join lateral (
    select round(greatest(1.4826 * percentile_cont(0.5) within group (order by abs(x - past.median))::numeric,
        past.median / 10, 1), 1) as deviation
    from unnest(past.each_day) as x
) as usual
inner join points.member as m on m.member_id = t.member_id
where past.days >= :min_history and t.points > past.median + :deviations * usual.deviation
order by t.member_id
