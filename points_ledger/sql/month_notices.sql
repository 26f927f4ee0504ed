-- What became of a month's notices, by kind, by the end of the day after the month; one inside a digest shares the digest's
-- results. `repeated`: attempts after one that may have arrived. `lost`: neither waiting, nor ended, nor inside a digest.
-- Parameters: first, through. Locks: none. Idempotence: a read.
with sent as (
    select n.notice_id, n.kind, r.attempts, r.repeated, r.result,
        not exists (select from points.notice_queue as q where q.notice_id = coalesce(d.digest_id, n.notice_id))
        and not exists (
            select from points.notice_result as e
            where e.notice_id = coalesce(d.digest_id, n.notice_id) and e.result <> 'retry') as is_lost
    from points.notice as n
    left join points.digest_part as d on d.notice_id = n.notice_id
    cross join lateral (
        select count(*) as attempts, (array_agg(e.result order by e.attempt desc) filter (where e.result <> 'retry')) [1] as result,
            greatest(count(*) filter (where e.result in ('accepted', 'uncertain')) - 1, 0) as repeated
        from points.notice_result as e
        where e.notice_id = coalesce(d.digest_id, n.notice_id)
            and e.moment < (CAST(:through AS date) + 2)::timestamp at time zone 'UTC'
    ) as r
    where n.business_date between :first and :through and n.kind <> 'digest'
)
select kind, count(*) as written, count(*) filter (where result = 'accepted') as accepted,
    count(*) filter (where result = 'refused') as refused, count(*) filter (where result = 'uncertain') as uncertain,
    count(*) filter (where result not in ('accepted', 'refused', 'uncertain')) as not_sent,
    count(*) filter (where result is null and not is_lost) as waiting, sum(repeated)::bigint as repeated,
    count(*) filter (where is_lost) as lost
from sent
group by kind
order by kind
