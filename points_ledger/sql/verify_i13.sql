-- I13: a lot expires at most once.
-- Parameters: none. Locks: none. Idempotence: a read.
select member_id, lot_seq,
    format('member_id %s, lot %s expired %s times', member_id, lot_seq, count(*)) as difference
from points.entry
where kind = 'expire'
group by member_id, lot_seq
having count(*) > 1
order by 1, 2
