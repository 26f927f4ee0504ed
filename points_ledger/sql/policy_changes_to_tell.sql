-- Versions that came, or come, into force after a day and of which no earlier night has told anybody, with the one before each.
-- Parameters: day (the business date that was closed), since (date). Locks: none. Idempotence: a read.
select v.version, v.effective_from, v.document, v.before
from (
    select version, effective_from, document, lag(document) over (order by effective_from, version) as before
    from points.policy_version
) as v
where v.before is not null and v.effective_from > CAST(:since AS date) and not exists (
    -- keys of one version lie together: C collation, and the semicolon follows the colon
    select from points.notice as n
    where n.dedupe_key >= format('policy_change:%s:', v.version) and n.dedupe_key < format('policy_change:%s;', v.version)
        and n.business_date < CAST(:day AS date))
order by v.version
