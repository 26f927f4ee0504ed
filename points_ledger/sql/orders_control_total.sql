-- The control total of an orders file: every row and its money is accepted, rejected or skipped. Parameters: none.
-- Money is quantity x unit price with its sign; a row that cannot be read has none. Locks: none. Idempotence: a read.
-- Only the lines of rejected orders are looked at one by one; the others were counted with their order.
select fate, reason, sum(lines)::bigint as lines, sum(money) as money
from (
    select 'rejected' as fate, coalesce(l.reason, o.reason) as reason, 1 as lines, coalesce(l.amount, 0) as money
    from typed_line as l
    inner join typed_order as o on o.order_no = l.order_no
    where o.reason is not null
    union all
    select 'skipped', case when o.member_no is null then 'guest' else 'already_imported' end, o.lines, o.amount
    from typed_order as o
    where o.reason is null and (o.member_no is null or o.is_known)
    union all
    select x.fate, x.reason, x.lines, x.money
    from typed_order as o
    cross join lateral (
        values
        ('accepted', 'purchase', o.purchase_lines, o.purchase_amount),
        ('accepted', 'return', o.return_lines, o.return_amount),
        ('skipped', 'no_money', o.lines - o.purchase_lines - o.return_lines,
            o.amount - o.purchase_amount - o.return_amount)
    ) as x (fate, reason, lines, money)
    where o.reason is null and o.member_no is not null and o.is_known is not true
) as counted
group by fate, reason
having sum(lines) > 0
