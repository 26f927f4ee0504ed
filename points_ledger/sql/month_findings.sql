-- Events of a month that moved no points, by reason: what its nights found. Rows of files that were not accepted belong to
-- no night. Parameters: first, through. Locks: none. Idempotence: a read.
select reason, count(*) as n from points.finding
where found_on between :first and :through
group by reason
order by reason
