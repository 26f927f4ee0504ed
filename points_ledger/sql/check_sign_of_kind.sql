-- An entry's kind is one of the legal ones, and its sign the kind's.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select e.member_id, e.seq, format('member_id %s, seq %s: kind %s with sign %s', e.member_id, e.seq, e.kind, e.sign) as difference
from points.entry as e
left join points.entry_kind as k on k.kind = e.kind
where e.book_date >= CAST(:since AS date) and e.sign is distinct from k.sign
order by 1, 2
