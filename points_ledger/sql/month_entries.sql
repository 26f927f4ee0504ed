-- The entries of a month with every column that their day's seal covers (points.entry_leaf), as a population; in the order
-- of members and of their entries. Parameters: first, through. Locks: none. Idempotence: a read.
select e.member_id, m.member_no, e.seq, e.book_date, e.effective_on, e.journal_id, e.kind, e.sign, e.points, e.lot_seq,
    e.lot_remaining_after, e.balance_after, e.debt_after, e.reversal_of, e.approval_id, e.run_id, e.usable_from, e.valid_through,
    e.idle_by, e.policy_version, e.source, e.source_ref, e.reason, e.actor,
    to_char(e.recorded_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as recorded_at
from points.entry as e
left join points.member as m on m.member_id = e.member_id
where e.book_date between :first and :through
order by e.member_id, e.seq
