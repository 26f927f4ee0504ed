-- I3: the lots of a member add up to the balance, and their holds to what is held.
-- Parameters: none. Locks: none. Idempotence: a read.
select w.member_id,
    format('member_id %s: wallet has %s (held %s), its lots %s (held %s), open holds %s', w.member_id, w.balance, w.held,
    coalesce(l.remaining, 0), coalesce(l.held, 0), coalesce(h.held, 0)) as difference
from points.wallet as w
left join (select member_id, sum(remaining) as remaining, sum(held) as held from points.lot group by member_id) as l
    on l.member_id = w.member_id
left join (
    select x.member_id, sum(x.points) as held from points.hold as x
    where not exists (select from points.hold_end e where e.member_id = x.member_id and e.hold_no = x.hold_no)
    group by x.member_id
) as h on h.member_id = w.member_id
where (w.balance, w.held, w.held) is distinct from (coalesce(l.remaining, 0), coalesce(l.held, 0), coalesce(h.held, 0))
order by 1
