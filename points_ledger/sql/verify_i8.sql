-- I8: each key maps to one whole journal, and each journal that needs a key has one. Expiries need none: a lot is their key.
-- Parameters: none. Locks: none. Idempotence: a read.
select k.member_id, k.source, k.source_ref,
    format('member_id %s, %s %s: the key says entries %s to %s, the journal has %s', k.member_id, k.source, k.source_ref,
    k.first_seq, k.last_seq, coalesce(j.n, 0)) as difference
from points.posting_key as k
left join (
    select member_id, journal_id, count(*) as n, min(seq) as first_seq, max(seq) as last_seq, min(book_date) as book_date,
        max(book_date) as last_book
    from points.entry
    group by member_id, journal_id
) as j on j.member_id = k.member_id and j.journal_id = k.journal_id
where (j.n, j.first_seq, j.last_seq, j.book_date, j.last_book)
    is distinct from (k.last_seq - k.first_seq + 1, k.first_seq, k.last_seq, k.book_date, k.book_date)
union all
select e.member_id, e.source, e.source_ref, format('member_id %s, journal %s: %s %s has no key', e.member_id, e.journal_id, e.source, e.source_ref)
from points.entry as e
where e.source <> 'expiry' and not exists (
    select from points.posting_key k where k.member_id = e.member_id and k.journal_id = e.journal_id)
group by e.member_id, e.source, e.source_ref, e.journal_id
order by 1, 2, 3
