-- What tills and approvers posted in the period, in the order it was posted: spends, captures of holds (as the spend
-- they were), adjustments. Parameters: first, through. Locks: none. Idempotence: a read.
select
    e.book_date as known_on, min(e.recorded_at) as recorded_at, m.member_no, e.source, e.source_ref, e.effective_on,
    sum(e.points)::bigint as points, min(e.approval_id) as approval_id
from points.entry as e
inner join points.member as m on m.member_id = e.member_id
where e.book_date between :first and :through
    and (e.kind = 'spend' and e.source not in ('redemption', 'undo') or e.source = 'adjustment')
group by e.book_date, m.member_no, e.source, e.source_ref, e.effective_on
order by known_on, recorded_at, m.member_no, e.source_ref
