-- The seals from the first day to a month's last one: each checkpoint stands on the one before. Parameters: through.
-- Locks: none. Idempotence: a read.
select book_date, entries, CAST(points_by_kind AS text) as points_by_kind, outstanding, debt, encode(root, 'hex') as root,
    encode(previous, 'hex') as previous, encode(checkpoint, 'hex') as checkpoint
from points.seal
where book_date <= :through
order by book_date
