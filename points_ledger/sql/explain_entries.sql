-- A member's entries in order, with what is held of their lots. Parameters: member_id, as_of. Locks: none. Idempotence: a read.
select e.seq, e.kind, e.points, e.sign, e.effective_on, e.book_date, e.source, e.source_ref, e.reason, e.balance_after,
    e.debt_after, e.lot_seq, e.lot_remaining_after, e.usable_from,
    case when d.to_date is not null then d.to_date when e.idle_by is null then e.valid_through
        else points.last_day(e.valid_through, w.active_on, e.idle_by) end as valid_through,
    case when d.to_date is null then e.idle_by end as idle_by, d.to_date is not null as is_deferred, e.policy_version, coalesce(l.held, 0) as held
from points.entry as e
left join points.lot as l on l.member_id = e.member_id and l.lot_seq = e.seq
left join (
    select lot_seq, max(to_date) as to_date from points.lot_deferral
    where member_id = :member_id and business_date < :as_of group by lot_seq
) as d on d.lot_seq = e.seq
inner join points.wallet as w on w.member_id = e.member_id
where e.member_id = :member_id and e.book_date <= :as_of
order by e.seq
