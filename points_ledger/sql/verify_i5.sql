-- I5: per book date, debits equal credits over all accounts, the wallet and debt accounts move as the entries' own
-- signs say, and what a transfer took from one member another one got.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read.
select book_date, what, format('%s: %s', book_date, difference) as difference
from (
    select e.book_date, sum(case when k.debit = 'wallet' then -e.points when k.credit = 'wallet' then e.points else 0 end) as wallet,
        sum(e.sign * e.points) as signed,
        coalesce(sum(e.points) filter (where e.kind = 'transfer_out'), 0) as sent,
        coalesce(sum(e.points) filter (where e.kind = 'transfer_in'), 0) as received,
        count(*) filter (where k.kind is null) as unknown
    from points.entry as e
    left join points.entry_kind as k on k.kind = e.kind and k.sign = e.sign
    where e.book_date >= CAST(:since AS date)
    group by e.book_date
) as d
cross join lateral (
    select 'kind' as what, format('%s entries of a kind or sign that is not legal', unknown) as difference where unknown > 0
    union all
    select 'wallet', format('wallet account moved by %s, entries say %s', wallet, signed) where wallet <> signed
    union all
    select 'transfer', format('%s points transferred out, %s in', sent, received) where sent <> received
) as w
order by 1, 2
