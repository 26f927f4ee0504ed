-- Backups taken and proven in a month (by the database's clock, UTC), and the day of the newest proof by its end.
-- Parameters: first, through. Locks: none. Idempotence: a read.
select count(*) filter (where what = 'complete' and in_month) as taken, count(*) filter (where what = 'proven' and in_month) as proven,
    (max(recorded_at) filter (where what = 'proven') at time zone 'UTC')::date::text as last_proven
from (
    select what, recorded_at, recorded_at >= CAST(:first AS date)::timestamp at time zone 'UTC' as in_month
    from points.backup_event
    where recorded_at < (CAST(:through AS date) + 1)::timestamp at time zone 'UTC'
) as known
