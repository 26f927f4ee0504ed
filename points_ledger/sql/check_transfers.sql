-- What one member gave another one got: each journal of a transfer takes as much as it gives, from one member to one other.
-- Parameters: none. Locks: none. Idempotence: a read.
select journal_id, format('journal %s: %s points given, %s got, by %s members', journal_id,
    coalesce(sum(points) filter (where kind = 'transfer_out'), 0), coalesce(sum(points) filter (where kind = 'transfer_in'), 0),
    count(distinct member_id)) as difference
from points.entry
where kind in ('transfer_out', 'transfer_in')
group by journal_id
having sum(sign * points) <> 0 or count(distinct member_id) <> 2
order by 1
