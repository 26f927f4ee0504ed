-- I14: a member's debt is what they owe less what they repaid.
-- Parameters: none. Locks: none. Idempotence: a read.
select w.member_id, format('member_id %s: debt %s, owed less repaid %s', w.member_id, w.debt, coalesce(e.debt, 0)) as difference
from points.wallet as w
left join (
    select member_id, sum(case kind when 'owe' then points else -points end) as debt
    from points.entry where kind in ('owe', 'repay') group by member_id
) as e on e.member_id = w.member_id
where w.debt <> coalesce(e.debt, 0)
order by 1
