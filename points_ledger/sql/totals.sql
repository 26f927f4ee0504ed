-- The single figures of the ledger as booked by a day. Parameters: through. Locks: none. Idempotence: a read.
select
    points.last_closed() as last_closed,
    (select count(distinct member_id) from points.entry where book_date <= :through) as wallets_with_entries,
    (select coalesce(sum(sign * points), 0)::bigint from points.entry where book_date <= :through) as balance,
    (select coalesce(sum(case kind when 'owe' then points when 'repay' then -points end), 0)::bigint
        from points.entry where book_date <= :through and kind in ('owe', 'repay')) as debt,
    (select coalesce(jsonb_object_agg(f.reason, f.n), '{}') from (
        select reason, count(*) as n from points.finding where coalesce(found_on, '-infinity') <= :through group by reason
    ) as f) as findings,
    (select count(*) from points.shop_order where purchase_lines > 0 and effective_on <= :through) as orders_with_member,
    (select coalesce(sum(t.rows), 0)::bigint from points.feed_total t join points.feed_file f using (file_id)
        where f.feed = 'orders') as lines,
    (select coalesce(sum(t.rows), 0)::bigint from points.feed_total t join points.feed_file f using (file_id)
        where f.feed = 'orders' and t.fate = 'skipped' and t.reason = 'guest') as guest_lines,
    (select coalesce(sum(t.rows), 0)::bigint from points.feed_total t join points.feed_file f using (file_id)
        where f.feed = 'orders' and t.fate = 'skipped' and t.reason = 'no_money') as no_money_lines,
    (select coalesce(sum(t.rows), 0)::bigint from points.feed_total t join points.feed_file f using (file_id)
        where f.feed = 'orders' and t.fate = 'rejected') as rejected_lines
