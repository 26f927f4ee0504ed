-- Every member with an entry booked by a month's end: balance, debt and tier before the month and at its end as their last
-- entries say, and what the month's entries moved. Parameters: first, through. Locks: none. Idempotence: a read.
-- The tier is the one held from the day after; a decision of a later day that reaches back does not change it.
with moved as (
    select
        member_id, max(seq) filter (where book_date < :first) as opening_seq, max(seq) as closing_seq,
        coalesce(sum(sign * points) filter (where book_date >= :first), 0)::bigint as moved,
        coalesce(sum(case kind when 'owe' then points when 'repay' then -points end) filter (where book_date >= :first), 0)::bigint as owed,
        coalesce(bool_or(kind in ('earn', 'spend') and source <> 'undo') filter (where book_date >= :first), false) as is_active,
        coalesce(sum(points) filter (where book_date >= :first and kind = 'earn'), 0)::bigint as earned,
        coalesce(sum(points) filter (where book_date >= :first and kind = 'spend'), 0)::bigint as spent
    from points.entry
    where book_date <= :through
    group by member_id
),
base as (
    select
        (select code from points.policy_tier where version = points.version_on(CAST(:first AS date) - 1) and enter_at <= 0
            order by rank desc limit 1) as opening,
        (select code from points.policy_tier where version = points.version_on(:through) and enter_at <= 0
            order by rank desc limit 1) as closing
),
decided as (
    select
        member_id, (array_agg(tier order by decision_no desc) filter (where decided_on < :first))[1] as opening,
        (array_agg(tier order by decision_no desc))[1] as closing
    from points.tier_decision
    where decided_on <= :through
    group by member_id
)
select
    t.member_id, m.member_no, coalesce(t.opening_seq, 0) as opening_entries, coalesce(o.balance_after, 0) as opening, t.moved, c.balance_after as closing,
    coalesce(o.debt_after, 0) as opening_debt, t.owed, c.debt_after as closing_debt, t.is_active, t.earned, t.spent,
    t.opening_seq is null as is_new, coalesce(d.opening, b.opening, 'none') as opening_tier,
    coalesce(d.closing, b.closing, 'none') as closing_tier
from moved as t
cross join base as b
left join points.member as m on m.member_id = t.member_id
inner join points.entry as c on c.member_id = t.member_id and c.seq = t.closing_seq and c.book_date <= :through
left join points.entry as o on o.member_id = t.member_id and o.seq = t.opening_seq and o.book_date < :first
left join decided as d on d.member_id = t.member_id
order by t.member_id
