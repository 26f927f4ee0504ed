-- Members with points whose notice of expiry is due at a close, in order: those that lapse on a day of the ladder (through the
-- index of open lots), those that came, or came back, on the closed day and lapse within the ladder, and those that this close deferred. Of
-- points that lapse by inactivity, the last activities are found that make a day of the ladder their last.
-- Parameters: day (the business date that was closed), dates (date[]: last days on which a step of the ladder falls, or every day
-- within it when the rule is new), horizon (date: the farthest of them). Locks: none. Idempotence: a read.
select l.member_id
from points.lot as l
where l.is_open and l.valid_through = any(CAST(:dates AS date []))
union
select l.member_id
from points.entry as e
inner join points.lot as l on l.member_id = e.member_id and l.lot_seq = e.lot_seq and l.is_open
where e.book_date = CAST(:day AS date) and e.sign = 1
    and (l.valid_through between CAST(:day AS date) + 1 and CAST(:horizon AS date) or l.idle_by is not null)
union
select d.member_id from points.lot_deferral as d where d.business_date = CAST(:day AS date)
union
select l.member_id
from (
    select p.version, a.active_on::date as active_on
    from points.policy as p
    cross join unnest(CAST(:dates AS date [])) as t (last_day)
    cross join lateral generate_series(  -- rounding up takes a year at most, clamping three days
        t.last_day - make_interval(years => 1, months => p.idle_months, days => 3),
        t.last_day - make_interval(months => p.idle_months) + interval '3 days', interval '1 day') as a (active_on)
    where p.idle_months is not null and points.idle_through(a.active_on::date, p.version) = t.last_day
) as idle
inner join points.wallet as w on w.active_on = idle.active_on
inner join points.lot as l on l.member_id = w.member_id and l.is_open and l.idle_by = idle.version
order by 1
