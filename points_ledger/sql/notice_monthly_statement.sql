-- Sends members the statement of the month that ended with a business date, by book date: opening and movements are the closing.
-- Members with no points at either end and no movement get none.
-- Parameters: members (bigint[]), day (the last business date of the month, closed). Locks: none. Idempotence: by dedupe key.
with rule as materialized (
    select * from points.notice_policy where version = points.version_on(:day)
),
moved as materialized (
    select w.member_id, w.balance - coalesce(e.since, 0) as closing, e.*
    from unnest(CAST(:members AS bigint [])) as m (member_id)
    inner join points.wallet as w on w.member_id = m.member_id
    cross join lateral (
        select
            sum(x.moved) filter (where not x.is_in) as since,
            count(*) filter (where x.is_in) as movements,
            coalesce(sum(x.moved) filter (where x.is_in), 0) as all_of_it,
            coalesce(sum(x.moved) filter (where x.is_in and x.kind = 'earn'), 0) as earned,
            coalesce(sum(x.moved) filter (where x.is_in and x.kind in ('spend', 'spend_reversal')), 0) as redeemed,
            coalesce(sum(x.moved) filter (where x.is_in and x.kind = 'claw_back'), 0) as returned,
            coalesce(sum(x.moved) filter (where x.is_in and x.kind = 'expire'), 0) as expired,
            coalesce(sum(x.moved) filter (where x.is_in and x.kind in ('adjust_up', 'adjust_down', 'reinstate')), 0) as adjusted
        from (
            select y.kind, y.sign * y.points as moved, y.book_date <= CAST(:day AS date) as is_in
            from points.entry as y
            where y.member_id = m.member_id and y.book_date >= date_trunc('month', CAST(:day AS date))::date
        ) as x
    ) as e
)
select points.enqueue_notices(array_agg(row(
    v.member_id, 'monthly_statement', 'service', format('monthly_statement:%s:%s', m.member_no, to_char(CAST(:day AS date), 'YYYY-MM')),
    jsonb_build_object('month', to_char(CAST(:day AS date), 'YYYY-MM'), 'opening', v.closing - v.all_of_it, 'earned', v.earned,
        'redeemed', v.redeemed, 'returned', v.returned, 'expired', v.expired, 'adjusted', v.adjusted,
        'other', v.all_of_it - v.earned - v.redeemed - v.returned - v.expired - v.adjusted, 'closing', v.closing,
        'as_of', CAST(:day AS date)),
    points.begins(CAST(:day AS date) + 1, r.time_zone), points.begins(CAST(:day AS date) + 32, r.time_zone))::points.due_notice
    order by v.member_id), CAST(:day AS date)) as written
from moved as v
inner join points.member as m on m.member_id = v.member_id and m.status = 'active'
cross join rule as r
where v.closing > 0 or v.movements > 0
