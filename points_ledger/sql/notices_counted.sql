-- What became of attempts that were recorded from a moment on: how many of each result; `duplicated`: attempts after which a
-- member may have the same notice twice, because an earlier one was uncertain or accepted; `lost`: notices that are neither
-- waiting, nor have a result that ends them, nor go out inside a digest (always 0, or the outbox is broken).
-- Parameters: since (the moment, by the clock of the database). Locks: none. Idempotence: a read.
select
    count(*) filter (where r.result = 'accepted') as accepted,
    count(*) filter (where r.result = 'refused') as refused,
    count(*) filter (where r.result = 'uncertain') as uncertain,
    count(*) filter (where r.result = 'retry') as retried,
    count(*) filter (where r.result = 'stale') as stale,
    count(*) filter (where r.result = 'suppressed') as suppressed,
    count(*) filter (where r.result = 'unreachable') as unreachable,
    count(*) filter (where r.result = 'held') as held,
    count(*) filter (where r.result in ('accepted', 'uncertain') and exists (
        select from points.notice_result as e
        where e.notice_id = r.notice_id and e.attempt < r.attempt and e.result in ('accepted', 'uncertain')
    )) as duplicated,
    (
        select count(*) from points.notice as n
        where
            n.recorded_at >= :since
            and not exists (select from points.notice_queue as q where q.notice_id = n.notice_id)
            and not exists (select from points.digest_part as d where d.notice_id = n.notice_id)
            and not exists (
                select from points.notice_result as e where e.notice_id = n.notice_id and e.result <> 'retry'
            )
    ) as lost
from points.notice_result as r
where r.recorded_at >= :since
