-- The invariants of the ledger (design 5.2) as of a month's end: of the entries booked by then, and of the wallets, lots
-- and keys of today less what was booked since. I10 is in month_seals. Parameters: through. Locks: none.
-- Idempotence: a read. At most 200 rows of each are returned, beside how many there are.
with e as materialized (
    select e.*, o.book_date as opened_on, o.usable_from as lot_usable_from, coalesce(d.to_date, o.valid_through) as lot_valid_through,
        case when d.to_date is null then o.idle_by end as lot_idle_by
    from points.entry as e
    left join points.entry as o on o.member_id = e.member_id and o.seq = e.lot_seq and o.book_date <= :through
    left join points.deferred_lot as d on d.member_id = o.member_id and d.lot_seq = o.seq
    where e.book_date <= :through
),
chain as (
    select member_id, seq, kind, source, journal_id, points, book_date, lot_seq, balance_after, debt_after, lot_remaining_after,
        row_number() over so_far as place, lag(book_date) over so_far as before,
        lead(kind) over so_far as next_kind, lead(points) over so_far as next_points, lead(journal_id) over so_far as next_journal,
        sum(sign * points) over so_far as balance,
        sum(case kind when 'owe' then points when 'repay' then -points else 0 end) over so_far as debt,
        case when lot_seq is not null then sum(sign * points) over (partition by member_id, lot_seq order by seq) end as remaining
    from e
    window so_far as (partition by member_id order by seq)
),
standing as (
    select member_id, sum(sign * points) as balance, max(seq) as last_seq, count(*) as n,
        (array_agg(balance_after order by seq desc))[1] as balance_after,
        sum(case kind when 'owe' then points when 'repay' then -points else 0 end) as debt
    from e group by member_id
),
since as (
    select member_id, sum(sign * points) as balance, count(*) as n,
        sum(case kind when 'owe' then points when 'repay' then -points else 0 end) as debt
    from points.entry where book_date > :through group by member_id
),
lots as (
    select member_id, lot_seq, sum(sign * points) as remaining, max(points) filter (where seq = lot_seq) as points,
        max(lot_usable_from) as usable_from, max(lot_valid_through) as valid_through, max(lot_idle_by) as idle_by, max(opened_on) as opened_on,
        count(*) filter (where kind = 'expire') as times_expired, (array_agg(lot_remaining_after order by seq desc))[1] as remaining_after
    from e where lot_seq is not null group by member_id, lot_seq
),
lots_since as (
    select member_id, lot_seq, sum(sign * points) as remaining
    from points.entry where book_date > :through and lot_seq is not null group by member_id, lot_seq
),
cleared as (
    select max(business_date) as day from points.run where job = 'close-night' and cleared_at is not null and business_date < :through
),
found as (
    select 'I1' as invariant, format('member_id %s: the wallet less what was booked since is %s in %s entries; the entries say %s in %s',
        s.member_id, w.balance - coalesce(n.balance, 0), w.seq - coalesce(n.n, 0), s.balance, s.n) as difference
    from standing as s
    left join points.wallet as w on w.member_id = s.member_id
    left join since as n on n.member_id = s.member_id
    where (w.balance - coalesce(n.balance, 0), w.seq - coalesce(n.n, 0), s.last_seq) is distinct from (s.balance, s.n, s.n)
    union all
    select 'I2', format('member_id %s, lot %s: it says %s of %s less what was booked since, %s to %s; its entries %s of %s, %s to %s',
        l.member_id, l.lot_seq, o.remaining - coalesce(n.remaining, 0), o.points, o.usable_from, o.valid_through, l.remaining, l.points,
        l.usable_from, l.valid_through)
    from lots as l
    left join points.lot as o on o.member_id = l.member_id and o.lot_seq = l.lot_seq
    left join lots_since as n on n.member_id = l.member_id and n.lot_seq = l.lot_seq
    where (o.remaining - coalesce(n.remaining, 0), o.points, o.usable_from, o.valid_through, o.idle_by)
        is distinct from (l.remaining, l.points, l.usable_from, l.valid_through, l.idle_by)
    union all
    select 'I3', format('member_id %s: balance %s, its lots %s', s.member_id, s.balance_after, coalesce(l.remaining, 0))
    from standing as s
    left join (select member_id, sum(remaining_after) as remaining from lots group by member_id) as l on l.member_id = s.member_id
    where s.balance_after <> coalesce(l.remaining, 0)
    union all
    select 'I4', format('member_id %s, seq %s: balance %s, debt %s, lot left %s; the entries up to it say %s, %s, %s', member_id, seq,
        balance_after, debt_after, lot_remaining_after, balance, debt, remaining)
    from chain where (balance_after, debt_after, lot_remaining_after) is distinct from (balance, debt, remaining)
    union all
    select 'I5', format('%s: wallets moved %s by the accounts, %s by the signs; %s were sent, %s received; %s of no legal kind', d.book_date,
        d.wallet, d.signed, d.sent, d.received, d.unknown)
    from (
        select e.book_date, coalesce(sum(case when k.debit = 'wallet' then -e.points when k.credit = 'wallet' then e.points else 0 end), 0) as wallet,
            sum(e.sign * e.points) as signed, coalesce(sum(e.points) filter (where e.kind = 'transfer_out'), 0) as sent,
            coalesce(sum(e.points) filter (where e.kind = 'transfer_in'), 0) as received, count(*) filter (where k.kind is null) as unknown
        from e left join points.entry_kind as k on k.kind = e.kind and k.sign = e.sign
        group by e.book_date
    ) as d
    where d.wallet <> d.signed or d.sent <> d.received or d.unknown > 0
    union all
    select 'I6', format('member_id %s, seq %s: %s on %s of lot %s, usable %s to %s', t.member_id, t.seq, t.kind, t.effective_on, t.lot_seq,
        t.lot_usable_from, t.last_day)
    from (
        select x.*, case when x.lot_idle_by is null then x.lot_valid_through else points.last_day(x.lot_valid_through, (
            select max(a.effective_on) from points.entry as a
            where a.member_id = x.member_id and a.seq < x.seq and a.journal_id <> x.journal_id
                and (a.kind in ('earn', 'spend') and a.source <> 'undo' or a.idle_by is not null)
                and a.seq >= (select min(b.seq) from points.entry as b where b.member_id = x.member_id and b.idle_by is not null)
        ), x.lot_idle_by) end as last_day
        from e as x where x.kind in ('spend', 'transfer_out', 'expire')
    ) as t
    where (t.kind in ('spend', 'transfer_out') and t.source <> 'capture'
        and (t.effective_on < t.lot_usable_from or t.effective_on > coalesce(t.last_day, 'infinity')))
        or (t.kind = 'expire' and t.effective_on is distinct from t.last_day + 1)
    union all
    select 'I7', format('member_id %s, lot %s: %s points were valid through %s', l.member_id, l.lot_seq, l.remaining, l.last_day)
    from (
        select l.*, points.last_day(l.valid_through, a.active_on, l.idle_by) as last_day
        from lots as l
        left join points.last_activities((select day from cleared) + 1) as a on a.member_id = l.member_id and l.idle_by is not null
        where l.remaining > 0 and l.opened_on <= (select day from cleared)
    ) as l
    where l.last_day <= (select day from cleared) and not exists (
        select from points.hold_lot as h
        inner join points.hold as o on o.member_id = h.member_id and o.hold_no = h.hold_no
        left join points.hold_end as x on x.member_id = h.member_id and x.hold_no = h.hold_no
        where h.member_id = l.member_id and h.lot_seq = l.lot_seq and o.held_on <= :through
            and coalesce(x.ended_on > (select day from cleared) or x.recorded_at >= (
                select d.closed_at from points.book_day as d where d.book_date = (select day from cleared)), true))
    union all
    select 'I8', format('member_id %s, %s %s: the key says entries %s to %s, the journal has %s', k.member_id, k.source, k.source_ref,
        k.first_seq, k.last_seq, coalesce(j.n, 0))
    from (select * from points.posting_key where book_date <= :through) as k
    full join (
        select member_id, journal_id, count(*) as n, min(seq) as first_seq, max(seq) as last_seq, min(book_date) as book_date
        from e where source <> 'expiry' group by member_id, journal_id
    ) as j on j.member_id = k.member_id and j.journal_id = k.journal_id
    where (j.n, j.first_seq, j.last_seq, j.book_date) is distinct from (k.last_seq - k.first_seq + 1, k.first_seq, k.last_seq, k.book_date)
    union all
    select 'I9', format('member_id %s, seq %s: recorded %s, but %s closed %s', e.member_id, e.seq, e.recorded_at, e.book_date, d.closed_at)
    from e left join points.book_day as d on d.book_date = e.book_date
    where d.closed_at is null or e.recorded_at > d.closed_at
    union all
    select 'I11', format('member_id %s, seq %s: %s points, balance %s, debt %s', member_id, seq, points, balance_after, debt_after)
    from e where points <= 0 or least(balance_after, debt_after, coalesce(lot_remaining_after, 0)) < 0
    union all
    select 'I12', format('member_id %s, seq %s: booked %s, the entry before it %s', member_id, seq, book_date, before)
    from chain where before > book_date
    union all
    select 'I13', format('member_id %s, lot %s expired %s times', member_id, lot_seq, times_expired) from lots where times_expired > 1
    union all
    select 'I14', format('member_id %s: the wallet owes %s less what was booked since; the entries say %s', s.member_id,
        w.debt - coalesce(n.debt, 0), s.debt)
    from standing as s
    left join points.wallet as w on w.member_id = s.member_id
    left join since as n on n.member_id = s.member_id
    where w.debt - coalesce(n.debt, 0) is distinct from s.debt
    union all
    -- not in the list of the design, but of its section 7: what an order earns repays what is owed, at once
    select 'repayment', format('member_id %s, seq %s: earned %s while owing %s, and repaid %s', member_id, seq, points, debt_after,
        case when next_kind = 'repay' and next_journal = journal_id then next_points else 0 end)
    from chain
    where kind = 'earn' and source = 'order' and debt_after > 0
        and (next_kind, next_journal, next_points) is distinct from ('repay', journal_id, least(points, debt_after))
)
select invariant, difference, n
from (
    select invariant, difference, count(*) over (partition by invariant) as n,
        row_number() over (partition by invariant order by difference collate "C") as place
    from found
) as numbered
where place <= 200
order by invariant, place
