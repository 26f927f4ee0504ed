-- I10: every closed day has its seal, which its entries and the seal before it give again; closed days have no gap.
-- Parameters: none. Locks: none. Idempotence: a read. The newest closed day may still be on its way to its seal.
select d.book_date,
    format('%s: %s', d.book_date, case
        when d.before <> d.book_date - 1 then format('the closed day before it is %s', d.before)
        when s.book_date is null then 'has no seal'
        when s.root <> x.root then format('sealed root %s, its entries give %s', encode(s.root, 'hex'), encode(x.root, 'hex'))
        else 'totals or chain differ from what its entries and the seal before it give' end) as difference
from (
    select book_date, lag(book_date) over (order by book_date) as before, lead(book_date) over (order by book_date) as after
    from points.book_day where status = 'closed'
) as d
cross join lateral points.expected_seal(d.book_date) as x
left join points.seal as s on s.book_date = d.book_date
where d.before <> d.book_date - 1
    or (s.book_date is null and (d.after is not null or exists (
        select from points.run where job = 'close-night' and business_date = d.book_date and status = 'done')))
    or (s.book_date is not null and (s.entries, s.points_by_kind, s.outstanding, s.debt, s.root, s.previous, s.checkpoint)
        is distinct from (x.entries, x.points_by_kind, x.outstanding, x.debt, x.root, x.previous, x.checkpoint))
order by 1
