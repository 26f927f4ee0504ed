-- Figures that a copy of the ledger must have too, in two scans. Lots are left to their rebuild from the entries.
-- Parameters: none. Locks: none. Idempotence: a read.
select
    points.last_closed()::text as last_closed,
    (select jsonb_object_agg(kind, jsonb_build_object('entries', entries, 'points', points))
        from (select kind, count(*) as entries, sum(points) as points from points.entry group by kind) as k) as by_kind,
    (select jsonb_build_object('balance', coalesce(sum(balance), 0), 'debt', coalesce(sum(debt), 0),
        'held', coalesce(sum(held), 0)) from points.wallet) as wallets
