-- Redemptions of the shop's feed against spends: those that a month's nights posted, and those booked in it. A redemption
-- belongs to the night of its own date, or of the first date that was still open when its file came in.
-- Parameters: first, through. Locks: none. Idempotence: a read.
with files as (
    select f.file_id, (select min(d.book_date) from points.book_day as d where d.closed_at is null or d.closed_at >= f.imported_at) as night
    from points.feed_file as f where f.feed = 'redemptions'
),
booked as (
    select source_ref, min(book_date) as book_date, sum(points)::bigint as points
    from points.entry
    where book_date >= :first and kind = 'spend' and source = 'redemption'
    group by source_ref
),
said as (
    select r.redemption_no, r.member_no, r.points, r.reward, greatest(r.effective_on, f.night) as night
    from points.redemption as r
    inner join files as f on f.file_id = r.file_id
    where r.state <> 'refused'
)
select
    coalesce(s.redemption_no, b.source_ref) as redemption_no, s.member_no, s.night, b.book_date, coalesce(s.points, 0) as said,
    coalesce(b.points, 0) as booked
from said as s
full join booked as b on b.source_ref = s.redemption_no
where s.night between :first and :through or b.book_date between :first and :through
order by 1
