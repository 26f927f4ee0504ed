-- What was posted by power in a month, each with its approval. Parameters: first, through. Locks: none.
-- Idempotence: a read. `stands`: another login than the proposer's approved it, with a reason, and before it was posted.
select
    m.member_no, e.seq, e.book_date, e.kind, e.points, e.source, e.actor, e.approval_id, a.what, a.reason, a.proposed_by,
    a.approved_by, coalesce(a.approved_by <> a.proposed_by and length(btrim(a.reason)) >= 10 and a.approved_at <= e.recorded_at
        and (a.what <> 'adjustment' or (a.payload ->> 'member_no' = m.member_no
            and (a.payload ->> 'points')::bigint = (
                select sum(p.sign * p.points) from points.entry as p
                where p.member_id = e.member_id and p.journal_id = e.journal_id))), false) as stands
from points.entry as e
left join points.member as m on m.member_id = e.member_id
left join points.approval as a on a.approval_id = e.approval_id
where e.book_date between :first and :through
    and (e.kind in ('adjust_up', 'adjust_down', 'reinstate') or e.source = 'undo' or e.approval_id is not null)
order by e.book_date, m.member_no, e.seq
