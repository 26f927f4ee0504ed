-- Members who redeemed more often, or more points, on one day than the programme's caps say: among the days of which
-- something was booked today, the one with the most points. Design 2.9.
-- Parameters: day, redemptions_per_day, points_redeemed_per_day (0 = no cap). Locks: none. Idempotence: a read; costs the
-- day's redemptions.
select distinct on (t.member_id)
    m.member_no as subject, t.member_id,
    jsonb_build_object('redemptions', whole.redemptions, 'points', whole.points, 'on', t.effective_on) as facts
from (
    select distinct e.member_id, e.effective_on
    from points.entry as e
    where e.book_date = CAST(:day AS date) and e.kind = 'spend' and e.approval_id is null
) as t
cross join lateral (
    select count(distinct (e.source, e.source_ref)) as redemptions, sum(e.points)::bigint as points
    from points.entry as e
    where e.member_id = t.member_id and e.effective_on = t.effective_on and e.kind = 'spend' and e.approval_id is null
        and e.book_date between t.effective_on and CAST(:day AS date)
) as whole
inner join points.member as m on m.member_id = t.member_id
where (:redemptions_per_day > 0 and whole.redemptions > :redemptions_per_day)
    or (:points_redeemed_per_day > 0 and whole.points > :points_redeemed_per_day)
order by t.member_id, whole.points desc, t.effective_on
