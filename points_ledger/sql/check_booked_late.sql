-- An entry is booked within 60 days of its effective date, or says why not (a reason, an approval).
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select e.member_id, e.seq, format('member_id %s, seq %s: %s of %s booked on %s', e.member_id, e.seq, e.kind, e.effective_on,
    e.book_date) as difference
from points.entry as e
where e.book_date >= CAST(:since AS date) and e.book_date > e.effective_on + 60 and e.reason is null and e.approval_id is null
order by 1, 2
