-- The programme as the statements read it: one row a version, with the scalars of its document.

create view policy as
select
    version,
    effective_from,
    document #>> '{programme,time_zone}' as time_zone,
    document #>> '{programme,currency}' as currency,
    (document #>> '{programme,point_value}')::numeric as point_value,
    (document #>> '{programme,enrol_from_orders}')::boolean as enrol_from_orders,
    coalesce((document #>> '{earn,daily_cap}')::bigint, 0) as daily_cap,
    coalesce((document #>> '{earn,usable_after_days}')::int, 0) as usable_after_days,
    document #>> '{expiry,basis}' as expiry_basis,
    -- of a calendar: the least age; of inactivity_with_cap: the cap
    (document #>> case document #>> '{expiry,basis}' when 'inactivity_with_cap' then '{expiry,cap_months}'
        else '{expiry,months}' end::text [])::int as expiry_months,
    case when document #>> '{expiry,basis}' in ('inactivity', 'inactivity_with_cap')
        then (document #>> '{expiry,months}')::int end as idle_months,
    coalesce(document #>> '{expiry,round_up_to}', 'day') as round_up_to,
    coalesce(document #>> '{expiry,month_day}', '12-31') as month_day,
    document #>> '{refund,policy}' as refund_policy,
    nullif(document #>> '{guard,max_share_of_outstanding}', 'off')::numeric as guard_max_share,
    nullif(document #>> '{guard,max_times_median}', 'off')::numeric as guard_max_times_median
from policy_version;

-- The version an event of `day` is judged by: the latest in force; before the first one, the first.
create function version_on(day date) returns int language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select coalesce(
        (select version from policy_version where effective_from <= day order by effective_from desc, version desc limit 1),
        (select min(version) from policy_version))
$$;

-- The last valid day of points earned on a day (design 5.4 and 7), as it is written into the lot; what inactivity takes is
-- computed when it is asked for (idle_through). Months clamp: 31 Jan + 1 month = 28 or 29 Feb.
-- calendar: the first `month_day` that is at least `months` after the day.
create function valid_through(earned_on date, basis text, months int, round_up_to text, month_day text) returns date
language sql immutable as $$
    select case
        when basis in ('none', 'inactivity') then null
        when basis = 'calendar' then (
            select min(d) from (
                select (first_of_month + least(split_part(month_day, '-', 2)::int,
                    extract(day from first_of_month + interval '1 month - 1 day')::int) - 1)::date as d
                from (
                    select make_date(extract(year from earned_on + make_interval(months => coalesce(months, 0)))::int + y,
                        split_part(month_day, '-', 1)::int, 1) as first_of_month
                    from generate_series(0, 1) as y
                ) as years
            ) as days
            where d >= (earned_on + make_interval(months => coalesce(months, 0)))::date)
        when round_up_to = 'day' then (earned_on + make_interval(months => months))::date
        else (date_trunc(round_up_to, earned_on + make_interval(months => months))
            + case round_up_to when 'month' then interval '1 month' when 'quarter' then interval '3 months'
                when 'year' then interval '1 year' end)::date - 1
    end
$$;
