-- I10: the seal of a closed day, computed again from its entries and the seal before it. Parameters: business_date.
-- Locks: none. Idempotence: a read. The newest closed day may still be on its way to its seal.
select format('%s: %s', CAST(:business_date AS date), case
    when s.book_date is null then 'has no seal'
    when s.root <> x.root then format('sealed root %s, its entries give %s', encode(s.root, 'hex'), encode(x.root, 'hex'))
    else 'totals or chain differ from what its entries and the seal before it give' end) as difference
from points.expected_seal(:business_date) as x
left join points.seal as s on s.book_date = :business_date
where (s.book_date is null and exists (
    select from points.run where job = 'close-night' and business_date = :business_date and status = 'done'))
    or (s.book_date is not null and (s.entries, s.points_by_kind, s.outstanding, s.debt, s.root, s.previous, s.checkpoint)
        is distinct from (x.entries, x.points_by_kind, x.outstanding, x.debt, x.root, x.previous, x.checkpoint))
