-- What needs two people had them: adjustments, reinstatements and undos name an approval that another login gave, and an
-- adjustment posted the points and the member that were approved. Parameters: none. Locks: none. Idempotence: a read.
with posted as (
    select e.approval_id, e.member_id, min(e.source) as source, min(e.seq) as seq, sum(e.sign * e.points) as points
    from points.entry as e
    where e.kind in ('adjust_up', 'adjust_down', 'reinstate') or e.source = 'undo'
    group by e.approval_id, e.member_id
)
select p.member_id, p.seq, format('member_id %s, seq %s: %s', p.member_id, p.seq, case
    when a.approval_id is null then 'no approval'
    when a.approved_by is null then format('approval %s was not given', a.approval_id)
    when a.approved_by = a.proposed_by then format('approval %s was given by %s, who proposed it', a.approval_id, a.proposed_by)
    when length(btrim(a.reason)) < 10 then format('approval %s has no reason', a.approval_id)
    else format('approval %s is for %s points of member %s, posted were %s', a.approval_id, a.payload ->> 'points',
        a.payload ->> 'member_no', p.points) end) as difference
from posted as p
left join points.approval as a on a.approval_id = p.approval_id
left join points.member as m on m.member_id = p.member_id
where a.approval_id is null or a.approved_by is null or a.approved_by = a.proposed_by or length(btrim(a.reason)) < 10
    or (a.what = 'adjustment'
        and (m.member_no is distinct from a.payload ->> 'member_no' or p.points is distinct from (a.payload ->> 'points')::bigint))
order by 1, 2
