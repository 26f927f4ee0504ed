-- What a night did, counted from the ledger. Parameters: business_date, run_id. Locks: none. Idempotence: a read.
select
    s.entries, s.points_by_kind as posted, s.outstanding, s.debt,
    coalesce((select count(*) from points.entry e
        where e.book_date between CAST(:business_date AS date) + 1 and CAST(:business_date AS date) + 2
            and e.run_id = :run_id and e.kind = 'expire'), 0) as expired_lots,
    coalesce((select sum(e.points) from points.entry e
        where e.book_date between CAST(:business_date AS date) + 1 and CAST(:business_date AS date) + 2
            and e.run_id = :run_id and e.kind = 'expire'), 0)::bigint as expired_points,
    coalesce((select jsonb_object_agg(f.reason, f.n) from (
        select reason, count(*) as n from points.finding where found_on = :business_date group by reason) as f), '{}') as findings,
    coalesce((select jsonb_object_agg(t.what, t.n) from (
        select what, count(*) as n from points.tier_decision where decided_on = :business_date group by what) as t), '{}') as tiers,
    coalesce((select jsonb_object_agg(x.screen, x.n) from (
        select screen, count(*) as n from points.screen_finding where business_date = :business_date group by screen) as x), '{}') as screens,
    coalesce((select jsonb_object_agg(n.kind, n.n) from (
        select kind, count(*) as n from points.notice where business_date = :business_date group by kind) as n), '{}') as notices,
    coalesce((select jsonb_object_agg(d.why, jsonb_build_object('members', d.members, 'lots', d.lots, 'points', d.points)) from (
        select why, count(distinct member_id) as members, count(*) as lots, sum(points) as points from (
            select why, member_id, points from points.lot_deferral where business_date = :business_date
            union all
            select 'unannounced', member_id, points from points.unannounced_expiry where business_date = :business_date) as x
        group by why) as d), '{}') as without_notice
from points.seal as s
where s.book_date = :business_date
