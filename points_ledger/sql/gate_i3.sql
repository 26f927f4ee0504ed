-- I3: the lots of a member add up to the balance, and their holds to what is held.
-- Parameters: business_date. Locks: none. Idempotence: a read.
select w.member_id,
    format('member_id %s: wallet %s (held %s), lots %s (held %s)', w.member_id, w.balance, w.held, l.remaining, l.held) as difference
from points.wallet as w
inner join lateral (
    select coalesce(sum(remaining), 0) as remaining, coalesce(sum(held), 0) as held
    from points.lot where lot.member_id = w.member_id and is_open
) as l on true
where w.member_id in (select member_id from points.entry where book_date = :business_date)
    and (w.balance, w.held) is distinct from (l.remaining, l.held)
