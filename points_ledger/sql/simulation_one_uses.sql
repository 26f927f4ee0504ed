-- What had been used once before the period. Parameters: first. Locks: none. Idempotence: a read.
select u.*
from points.one_use as u
where exists (
        select from points.entry as e
        where e.member_id = u.member_id and e.book_date < :first
            and case u.what when 'approval' then e.approval_id else e.reversal_of end = u.ref)
    or u.what = 'approval' and exists (
        select from points.tier_decision as d
        where d.member_id = u.member_id and d.approval_id = u.ref and d.decided_on < :first)
