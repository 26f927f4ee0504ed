-- The lots that a month's nights cleared or kept for want of a notice: `why` is null for those whose notice was in time, or
-- where none was asked for. Parameters: first, through. Locks: none. Idempotence: a read.
select 'cleared' as what, case when u.lot_seq is not null then 'unreachable' end as why, count(*) as lots, sum(e.points)::bigint as points
from points.entry as e
left join points.unannounced_expiry as u on u.member_id = e.member_id and u.lot_seq = e.lot_seq
where e.kind = 'expire' and e.book_date between :first and :through
group by 2
union all
select 'deferred', why, count(*), sum(points)::bigint
from points.lot_deferral
where business_date between :first and :through
group by why
order by 1, 2 nulls first
