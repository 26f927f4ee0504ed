-- Points an order earned are usable from and valid through the days that the order's version of the programme gives.
-- Parameters: since (book dates before it are left out). Locks: none. Idempotence: a read. Once a day, not once a lot.
with opened as materialized (
    select e.member_id, e.lot_seq, e.effective_on, e.policy_version, e.usable_from, e.valid_through, e.idle_by
    from points.entry as e
    where e.book_date >= CAST(:since AS date) and e.kind = 'earn' and e.source = 'order'
),
days as materialized (
    select d.*, d.effective_on + p.usable_after_days as usable_from,
        points.valid_through(d.effective_on, p.expiry_basis, p.expiry_months, p.round_up_to, p.month_day) as valid_through,
        case when p.idle_months is not null then p.version end as idle_by
    from (select distinct effective_on, policy_version from opened) as d
    inner join points.policy as p on p.version = d.policy_version
)
select o.member_id, o.lot_seq, format('member_id %s, lot %s of %s: usable %s to %s; version %s gives %s to %s', o.member_id,
    o.lot_seq, o.effective_on, o.usable_from, coalesce(o.valid_through::text, 'never'), coalesce(o.policy_version::text, 'none'),
    d.usable_from, coalesce(d.valid_through::text, 'never')) as difference
from opened as o
left join days as d on d.effective_on = o.effective_on and d.policy_version = o.policy_version
where d.effective_on is null or (o.usable_from, o.valid_through, o.idle_by)
    is distinct from (d.usable_from, d.valid_through, d.idle_by)
order by 1, 2
