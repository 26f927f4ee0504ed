-- The invariants of design 5.2, written down once more and apart from the product's own checks: each query returns
-- the rows that break it. Run as admin, when nobody writes. `-- Ix: title` begins a query.

-- I0: every event that was posted is there, once and whole
select 'order', o.order_no from points.shop_order o
where not o.is_waiting and o.purchase_lines > 0
    and not exists (select from points.order_earning e where e.member_id = o.member_id and e.order_no = o.order_no)
union all
select 'earning', g.order_no from points.order_earning g
left join (select member_id, source_ref, sum(points) as points, count(*) as n from points.entry where kind = 'earn' group by 1, 2) e
    on e.member_id = g.member_id and e.source_ref = g.order_no
where coalesce(e.points, 0) <> g.points or coalesce(e.n, 0) > 1
union all
select 'redemption', r.redemption_no from points.redemption r
left join (select member_id, source_ref, sum(points) as points from points.entry
    where kind = 'spend' and source = 'redemption' group by 1, 2) e
    on e.member_id = r.member_id and e.source_ref = r.redemption_no
where (r.state = 'posted') <> (e.points is not null) or e.points <> r.points
union all
select 'cancellation', c.redemption_no from points.cancellation c
join points.redemption r using (redemption_no)
left join (select member_id, source_ref, sum(points) as points from points.entry where kind = 'spend_reversal' group by 1, 2) e
    on e.member_id = r.member_id and e.source_ref = c.redemption_no
where (c.state = 'posted') <> (e.points is not null) or e.points <> r.points
union all
select 'return', t.return_order_no || '/' || t.return_line_no from (
    select member_id, return_order_no, return_line_no, sum(points) as points from points.returned_line group by 1, 2, 3) t
left join (select member_id, source_ref, sum(points) as points from points.entry
    where kind in ('claw_back', 'owe') group by 1, 2) e
    on e.member_id = t.member_id and e.source_ref = t.return_order_no || '/' || t.return_line_no
where t.points <> coalesce(e.points, 0)
union all
select 'hold', h.hold_no from points.hold_end h
left join (select member_id, source_ref, sum(points) as points from points.entry where source = 'capture' group by 1, 2) e
    on e.member_id = h.member_id and e.source_ref = h.hold_no
where h.points <> coalesce(e.points, 0) or (h.outcome = 'captured') <> (e.points is not null);

-- I1: a wallet is the sum of its entries, numbered 1..n
select w.member_id, w.balance, w.seq from points.wallet w
left join (select member_id, sum(sign * points) as balance, count(*) as n, max(seq) as last from points.entry group by 1) e
    using (member_id)
where (w.balance, w.seq, w.seq) is distinct from (coalesce(e.balance, 0), coalesce(e.n, 0), coalesce(e.last, 0));

-- I2: what is left of a lot is its points and what its entries moved
select l.member_id, l.lot_seq, l.remaining, l.expired from points.lot l
full join (
    select member_id, lot_seq, sum(sign * points) as remaining, sum(case when kind = 'expire' then points else 0 end) as expired,
        max(points) filter (where seq = lot_seq) as opened, max(valid_through) filter (where seq = lot_seq) as valid_through,
        max(usable_from) filter (where seq = lot_seq) as usable_from
    from points.entry where lot_seq is not null group by 1, 2) e using (member_id, lot_seq)
where (l.remaining, l.expired, l.points, l.valid_through, l.usable_from)
    is distinct from (e.remaining, e.expired, e.opened, e.valid_through, e.usable_from);

-- I3: lots add up to the balance; holds that have not ended, to what is held
select w.member_id, w.balance, w.held from points.wallet w
left join (select member_id, sum(remaining) as remaining, sum(held) as held from points.lot group by 1) l using (member_id)
left join (
    select h.member_id, sum(h.points) as held from points.hold h
    left join points.hold_end e using (member_id, hold_no) where e.hold_no is null group by 1) h using (member_id)
where (w.balance, w.held, w.held) is distinct from (coalesce(l.remaining, 0), coalesce(l.held, 0), coalesce(h.held, 0))
union all
select l.member_id, l.lot_seq, l.held from points.lot l
left join (
    select p.member_id, p.lot_seq, sum(p.points) as held from points.hold_lot p
    left join points.hold_end e using (member_id, hold_no) where e.hold_no is null group by 1, 2) h using (member_id, lot_seq)
where l.held <> coalesce(h.held, 0);

-- I4: running balances, debts and remainders chain
select member_id, seq from (
    select member_id, seq,
        balance_after - sign * points - coalesce(lag(balance_after) over member, 0) as off,
        debt_after - case kind when 'owe' then points when 'repay' then -points else 0 end
            - coalesce(lag(debt_after) over member, 0) as debt_off,
        case when lot_seq is null then 0
            else lot_remaining_after - sign * points - coalesce(lag(lot_remaining_after) over lot, 0) end as lot_off
    from points.entry
    window member as (partition by member_id order by seq), lot as (partition by member_id, lot_seq order by seq)) as chain
where off <> 0 or debt_off <> 0 or lot_off <> 0;

-- I5: the trial balance is zero on every book date; each account is what it stands for; transfers clear
select 'kind', e.kind from points.entry e left join points.entry_kind k using (kind) where k.sign is distinct from e.sign
union all
select 'date', book_date::text from (
    select book_date, debit as account, points from points.entry join points.entry_kind using (kind)
    union all
    select book_date, credit, -points from points.entry join points.entry_kind using (kind)) as postings
group by book_date having sum(points) <> 0
union all
select 'wallets', sum(case when credit = 'wallet' then points when debit = 'wallet' then -points else 0 end)::text
from points.entry join points.entry_kind using (kind)
having coalesce(sum(case when credit = 'wallet' then points when debit = 'wallet' then -points else 0 end), 0)
    <> (select coalesce(sum(balance), 0) from points.wallet)
union all
select 'transfer', journal_id::text from points.entry where kind in ('transfer_in', 'transfer_out')
group by journal_id having sum(sign * points) <> 0;

-- I6: no spend takes a lapsed or pending lot (a capture takes what was held), no expiry takes a live one
select e.member_id, e.seq, e.kind from points.entry e join points.lot l using (member_id, lot_seq)
where (e.kind in ('spend', 'transfer_out') and e.source <> 'capture'
        and not (l.usable_from <= e.effective_on and coalesce(e.effective_on <= l.valid_through, true)))
    or (e.kind = 'expire' and not coalesce(l.valid_through < least(e.book_date, e.effective_on), false));

-- I7: nothing due is left behind a closed day (opened late, or let go by a hold, since then: due at the next close)
select l.member_id, l.lot_seq, l.remaining from points.lot l
join points.entry e on e.member_id = l.member_id and e.seq = l.lot_seq
cross join (select book_date, closed_at from points.book_day where status = 'closed' order by book_date desc limit 1) as last
where l.remaining > 0 and l.held = 0 and l.valid_through <= last.book_date and e.book_date <= last.book_date
    and not exists (
        select from points.hold_lot p join points.hold_end x using (member_id, hold_no)
        where p.member_id = l.member_id and p.lot_seq = l.lot_seq and x.recorded_at > last.closed_at);

-- I8: each key is one whole journal, and every entry has one key, an expiry its lot
select k.member_id, k.source, k.source_ref from points.posting_key k
left join (
    select member_id, journal_id, min(seq) as first, max(seq) as last, count(*) as n, count(distinct (source, source_ref)) as sources
    from points.entry group by 1, 2) e using (member_id, journal_id)
where (e.first, e.last, e.n, e.sources) is distinct from (k.first_seq, k.last_seq, k.last_seq - k.first_seq + 1, 1::bigint)
union all
select e.member_id, e.source, e.source_ref from points.entry e
where e.kind <> 'expire' and 1 <> (
    select count(*) from points.posting_key k
    where k.member_id = e.member_id and k.journal_id = e.journal_id and k.source = e.source and k.source_ref = e.source_ref
        and k.book_date = e.book_date and e.seq between k.first_seq and k.last_seq);

-- I9: nothing is recorded after its day closed
select e.member_id, e.seq from points.entry e join points.book_day d using (book_date)
where d.status = 'closed' and e.recorded_at > d.closed_at
union all
select e.member_id, e.seq from points.entry e left join points.book_day d using (book_date) where d.book_date is null;

-- I10: every closed day has a seal, and it recomputes
select d.book_date from points.book_day d
left join points.seal s using (book_date)
cross join lateral points.expected_seal(d.book_date) as x
where d.status = 'closed' and (s.entries, s.points_by_kind, s.outstanding, s.debt, s.root, s.previous, s.checkpoint)
    is distinct from (x.entries, x.points_by_kind, x.outstanding, x.debt, x.root, x.previous, x.checkpoint);

-- I11: nothing is negative
select 'wallet', member_id from points.wallet where least(balance, held, debt, seq, balance - held) < 0
union all
select 'lot', member_id from points.lot where least(remaining, held, expired, points - remaining, remaining - held) < 0
union all
select 'entry', member_id from points.entry where least(points - 1, balance_after, debt_after, coalesce(lot_remaining_after, 0)) < 0;

-- I12: book dates never go back, and the wallet knows the last
select member_id, seq from (
    select member_id, seq, book_date, lag(book_date) over (partition by member_id order by seq) as before from points.entry) as e
where book_date < before
union all
select w.member_id, w.seq from points.wallet w
left join (select member_id, max(book_date) as last from points.entry group by 1) e using (member_id)
where w.last_book is distinct from coalesce(e.last, '-infinity');

-- I13: a lot expires at most once, and whole
select member_id, lot_seq from points.entry where kind = 'expire' group by 1, 2
having count(*) > 1 or bool_or(lot_remaining_after <> 0);

-- I14: debt is what is owed less what was repaid; no event stands under two journals
select w.member_id::text, w.debt::text from points.wallet w
left join (
    select member_id, sum(case kind when 'owe' then points when 'repay' then -points else 0 end) as debt from points.entry group by 1
) e using (member_id)
where w.debt <> coalesce(e.debt, 0)
union all
select source, source_ref from points.entry group by member_id, source, source_ref having count(distinct journal_id) > 1;
