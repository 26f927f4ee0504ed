-- The bonuses of activities that were posted before the period. Parameters: first. Locks: none. Idempotence: a read.
select e.* from points.activity_earning as e where e.posted_on < :first
