-- Redemptions within minutes of an order that earned much, per member the largest of the day. The time of a redemption
-- is the feed's, of a captured hold the hold's, of a till's spend when it was written. Design 2.9.
-- Parameters: day, minutes_after_earn, large_earn. Locks: none. Idempotence: a read; costs the day's redemptions.
select distinct on (s.member_id)
    m.member_no as subject, s.member_id,
    jsonb_build_object('points', s.points, 'ref', s.source_ref, 'earned', o.points, 'order_no', o.order_no,
        'minutes', floor(extract(epoch from s.spent_at - o.placed_at) / 60)) as facts
from (
    select
        e.member_id, e.source, e.source_ref, sum(e.points)::bigint as points,
        min(coalesce(r.redeemed_at, h.recorded_at, e.recorded_at)) as spent_at
    from points.entry as e
    left join points.redemption as r on e.source = 'redemption' and r.redemption_no = e.source_ref
    left join points.hold as h on e.source = 'capture' and h.member_id = e.member_id and h.hold_no = e.source_ref
    where e.book_date = CAST(:day AS date) and e.kind = 'spend' and e.approval_id is null
    group by e.member_id, e.source, e.source_ref
) as s
cross join lateral (
    select x.order_no, x.placed_at, g.points
    from points.shop_order as x
    inner join points.order_earning as g on g.member_id = x.member_id and g.order_no = x.order_no
    where x.member_id = s.member_id and g.points >= :large_earn and x.placed_at <= s.spent_at
        and x.placed_at >= s.spent_at - make_interval(mins => CAST(:minutes_after_earn AS int))
    order by g.points desc, x.order_no
    limit 1
) as o
inner join points.member as m on m.member_id = s.member_id
order by s.member_id, s.points desc, s.source_ref
