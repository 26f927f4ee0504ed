-- A member's entries in order, with what is held of their lots. Parameters: member_id, as_of. Locks: none. Idempotence: a read.
select e.seq, e.kind, e.points, e.sign, e.effective_on, e.book_date, e.source, e.source_ref, e.reason, e.balance_after,
    e.debt_after, e.lot_seq, e.lot_remaining_after, e.usable_from,
    case when e.idle_by is null then e.valid_through else points.last_day(e.valid_through, w.active_on, e.idle_by) end as valid_through,
    e.idle_by, e.policy_version, coalesce(l.held, 0) as held
from points.entry as e
left join points.lot as l on l.member_id = e.member_id and l.lot_seq = e.seq
inner join points.wallet as w on w.member_id = e.member_id
where e.member_id = :member_id and e.book_date <= :as_of
order by e.seq
