-- The entries of a month, as a population. Parameters: first, through. Locks: none. Idempotence: a read.
select m.member_no, e.seq, e.book_date, e.effective_on, e.kind, e.points, e.lot_seq, e.balance_after, e.debt_after, e.journal_id,
    e.source, e.source_ref, e.approval_id, e.policy_version
from points.entry as e
left join points.member as m on m.member_id = e.member_id
where e.book_date between :first and :through
order by m.member_no, e.seq
