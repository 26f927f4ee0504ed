-- What became of the points of each month's lots, by book month: opened, used at a till or for a reward (less what was
-- given back to the same lot), lapsed, taken back by returns and debts, and moved otherwise.
-- Parameters: through. Locks: none. Idempotence: a read.
select
    to_char(o.book_date, 'YYYY-MM') as opened, to_char(e.book_date, 'YYYY-MM') as month,
    coalesce(sum(e.points) filter (where e.seq = e.lot_seq), 0)::bigint as issued,
    coalesce(-sum(e.sign * e.points) filter (where e.seq <> e.lot_seq and e.kind in ('spend', 'spend_reversal')), 0)::bigint as used,
    coalesce(-sum(e.sign * e.points) filter (where e.seq <> e.lot_seq and e.kind in ('expire', 'reinstate')), 0)::bigint as lapsed,
    coalesce(-sum(e.sign * e.points) filter (where e.seq <> e.lot_seq and e.kind in ('claw_back', 'repay')), 0)::bigint as returned,
    coalesce(-sum(e.sign * e.points) filter (where e.seq <> e.lot_seq and e.kind not in (
        'spend', 'spend_reversal', 'expire', 'reinstate', 'claw_back', 'repay')), 0)::bigint as moved
from points.entry as e
inner join points.entry as o on o.member_id = e.member_id and o.seq = e.lot_seq and o.book_date <= :through
where e.book_date <= :through
group by 1, 2
order by 1, 2
