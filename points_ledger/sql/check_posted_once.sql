-- An order, return, redemption or cancellation of the shop stands in one journal of one member.
-- Parameters: none. Locks: none. Idempotence: a read.
select source, source_ref, format('%s %s: posted in %s journals of %s members', source, source_ref, count(distinct journal_id),
    count(distinct member_id)) as difference
from points.entry
where source in ('order', 'return', 'redemption', 'cancellation')
group by source, source_ref
having min(journal_id::text) <> max(journal_id::text) or min(member_id) <> max(member_id)
order by 1, 2
