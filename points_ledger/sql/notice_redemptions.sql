-- Confirms the redemptions and cancellations of the feeds that were posted for some members, in the transaction that posts them.
-- Parameters: members (bigint[], wallets locked by the caller), through (the open business date). Locks: none of its own.
-- Idempotence: by dedupe key.
with rule as materialized (
    select * from points.notice_policy where version = points.version_on(:through)
),
posted as (
    select
        e.member_id, e.source, e.source_ref, sum(e.points)::bigint as points, max(e.effective_on) as day,
        (array_agg(e.balance_after order by e.seq desc))[1] as balance
    from points.entry as e
    where e.member_id = any(CAST(:members AS bigint [])) and e.book_date >= CAST(:through AS date)
        and (e.source, e.kind) in (('redemption', 'spend'), ('cancellation', 'spend_reversal'))
    group by e.member_id, e.source, e.source_ref
)
select points.enqueue_notices(array_agg(row(
    p.member_id, case p.source when 'redemption' then 'redemption_confirmed' else 'redemption_cancelled' end, 'transaction',
    format('%s:%s', case p.source when 'redemption' then 'redemption_confirmed' else 'redemption_cancelled' end, p.source_ref),
    jsonb_build_object('redemption_no', p.source_ref, 'points', p.points, 'balance', p.balance,
        case p.source when 'redemption' then 'redeemed_on' else 'cancelled_on' end, p.day),
    points.begins(:through, r.time_zone), points.begins(CAST(:through AS date) + 8, r.time_zone))::points.due_notice
    order by p.member_id, p.source_ref, p.source desc), CAST(:through AS date)) as written
from posted as p
cross join rule as r
