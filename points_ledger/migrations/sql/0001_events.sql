-- Posting what the feeds said: returns, cancellations and redemptions of the members given, whose wallets the
-- caller has locked (lock_wallets). Each event is exactly-once by its key. With `final` (the day is being closed)
-- an event that cannot be posted becomes a finding; without, it waits.

-- The functions that post event by event look up a few rows of one member each time, by key. Their plans are made once
-- a session, often on tables that are new and have no statistics, so joins and scans of whole tables are off there.

-- Locks wallets in member_id order, so that two batches cannot wait for each other. Returns those it locked.
create function lock_wallets(members bigint [], wait boolean) returns bigint [] language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    if wait then
        return (select array_agg(member_id) from (
            select member_id from wallet where member_id = any(members) order by member_id for no key update) as locked);
    end if;
    return (select array_agg(member_id) from (
        select member_id from wallet where member_id = any(members) order by member_id for no key update skip locked) as locked);
end $$;

create function find_event(what text, from_feed text, event_ref text, day date, no text, file bigint, facts jsonb) returns void
language sql
set search_path = pg_catalog, points, pg_temp as $$
    insert into finding (reason, feed, ref, found_on, member_no, file_id, detail)
    values (what, from_feed, event_ref, day, no, file, facts) on conflict do nothing
$$;

-- One return line (design 7, Returns): takes its quantity from purchase lines, latest first, and takes back
-- floor(P x R / A) less what was taken before, never more than P - expired - taken before.
create function post_return(line return_line, through date, run bigint, final boolean) returns boolean language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    ref constant text := line.order_no || '/' || line.line_no;
    journal constant uuid := journal_of(line.member_id, 'return', ref);
    before constant bigint := (select seq from wallet where member_id = line.member_id);
    unmatched numeric := line.quantity;
    bought record;
    part numeric;
    refunded numeric;
    taken bigint;
    due bigint;
    has_any boolean := false;
begin
    for bought in
        select l.order_no, l.line_no, l.unit_price, l.quantity - coalesce(r.quantity, 0) as open_quantity,
            l.line_no = any(e.lines) as is_eligible, e.policy_version, e.points, e.eligible_amount, e.lot_seq,
            sum(l.quantity - coalesce(r.quantity, 0)) over () as open_in_all
        from order_line l
        join shop_order o using (member_id, order_no)
        join order_earning e using (member_id, order_no)
        left join lateral (
            select sum(x.quantity) as quantity from returned_line x
            where x.member_id = l.member_id and x.order_no = l.order_no and x.line_no = l.line_no) r on true
        where l.member_id = line.member_id and l.sku = line.sku and l.quantity > coalesce(r.quantity, 0)
            and case when line.original_order_no is null then o.placed_at <= line.placed_at
                else l.order_no = line.original_order_no end
        order by o.placed_at desc, l.order_no desc, l.line_no desc
    loop
        if not final and line.quantity > bought.open_in_all then return false; end if;
        has_any := true;
        exit when unmatched <= 0;
        part := least(unmatched, bought.open_quantity);
        unmatched := unmatched - part;
        due := 0;
        if bought.is_eligible and bought.points > 0 and bought.eligible_amount > 0 then
            select coalesce(sum(amount), 0) + part * bought.unit_price, coalesce(sum(points), 0)
            into refunded, taken
            from returned_line
            where member_id = line.member_id and order_no = bought.order_no;
            due := case when refunded >= bought.eligible_amount then bought.points
                else floor(bought.points * refunded / bought.eligible_amount) end - taken;
            due := greatest(0, least(due, bought.points - taken
                - (select expired from lot where member_id = line.member_id and lot_seq = bought.lot_seq)));
            if due > 0 then
                due := claw_back(line.member_id, due, bought.lot_seq,
                    (select refund_policy from policy where version = bought.policy_version),
                    through, line.effective_on, 'return', ref, run, bought.policy_version);
            end if;
        end if;
        insert into returned_line values (line.member_id, bought.order_no, bought.line_no, line.order_no, line.line_no, part,
            case when bought.is_eligible then part * bought.unit_price else 0 end, due);
    end loop;
    if not (final or has_any) then return false; end if;
    if before < (select seq from wallet where member_id = line.member_id) then
        perform remember_posting(line.member_id, 'return', ref,
            request_hash('return', line.sku, line.quantity::text, line.original_order_no, line.placed_at::text),
            journal, (select last_book from wallet where member_id = line.member_id), before);
    end if;
    if unmatched > 0 then
        perform find_event('return_without_purchase', 'orders', ref, through,
            (select member_no from member where member_id = line.member_id),
            (select file_id from shop_order o where o.member_id = line.member_id and o.order_no = line.order_no),
            jsonb_build_object('sku', line.sku, 'quantity', line.quantity, 'unmatched', unmatched));
    end if;
    update return_line set is_waiting = false
    where member_id = line.member_id and order_no = line.order_no and line_no = line.line_no;
    return true;
end $$;

create function post_returns(members bigint [], through date, run bigint, final boolean) returns bigint language plpgsql
security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare line return_line; posted bigint := 0;
begin
    for line in
        select * from return_line
        where is_waiting and effective_on <= through and member_id = any(members)
        order by member_id, placed_at, order_no, line_no
    loop
        if post_return(line, through, run, final) then posted := posted + 1; end if;
    end loop;
    return posted;
end $$;

create function post_cancellations(members bigint [], through date, run bigint) returns bigint language plpgsql
security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare c record; posted bigint := 0;
begin
    for c in
        select x.redemption_no, x.effective_on, r.member_id
        from cancellation x join redemption r using (redemption_no)
        where x.state = 'waiting' and x.effective_on <= through and r.state = 'posted' and r.member_id = any(members)
        order by r.member_id, x.cancelled_at, x.redemption_no
    loop
        perform reverse_spend(c.member_id, 'redemption', c.redemption_no, c.effective_on, 'cancellation', c.redemption_no, run, through);
        update cancellation set state = 'posted' where redemption_no = c.redemption_no;
        posted := posted + 1;
    end loop;
    return posted;
end $$;

create function post_redemptions(members bigint [], through date, run bigint, final boolean) returns bigint language plpgsql
security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare r redemption; w wallet; book date; posted bigint := 0; journal uuid;
begin
    for r in
        select * from redemption
        where state = 'waiting' and effective_on <= through and member_id = any(members)
        order by member_id, redeemed_at, redemption_no
    loop
        select * into w from wallet where member_id = r.member_id;
        book := book_date_for(through, w.last_book);
        perform open_day(book);
        journal := journal_of(r.member_id, 'redemption', r.redemption_no);
        if not already_posted(r.member_id, 'redemption', r.redemption_no, r.fingerprint) then
            if w.is_blocked or take_points(r.member_id, r.points, true, 'spend', r.effective_on, book, journal, 'redemption',
                r.redemption_no, run, null, r.reward, null) = 0 then
                if final then
                    perform find_event(case when w.is_blocked then 'redemptions_blocked' else 'insufficient_points' end,
                        'redemptions', r.redemption_no, through, r.member_no, r.file_id,
                        jsonb_build_object('points', r.points, 'available', available(r.member_id, r.effective_on)));
                    update redemption set state = 'refused' where redemption_no = r.redemption_no;
                end if;
                continue;
            end if;
            perform remember_posting(r.member_id, 'redemption', r.redemption_no, r.fingerprint, journal, book, w.seq);
        end if;
        update redemption set state = 'posted' where redemption_no = r.redemption_no;
        posted := posted + 1;
    end loop;
    return posted;
end $$;

-- Who waits: members with an event of a day up to `through` that is not posted yet, and a wallet. Names the member
-- of each waiting redemption first.
create function members_waiting(through date) returns setof bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    update redemption r set member_id = m.member_id
    from member m join wallet w using (member_id)
    where r.state = 'waiting' and r.effective_on <= through and r.member_id is null
        and m.member_no = r.member_no and m.joined_on <= r.effective_on;
    return query
        select w.member_id from wallet w where w.member_id in (
            select o.member_id from shop_order o where o.is_waiting and o.effective_on <= through
            union all
            select l.member_id from return_line l where l.is_waiting and l.effective_on <= through
            union all
            select r.member_id from redemption r where r.state = 'waiting' and r.effective_on <= through
            union all
            select r.member_id from cancellation c join redemption r using (redemption_no)
            where c.state = 'waiting' and c.effective_on <= through and r.state <> 'refused')
        order by w.member_id;
end $$;

-- Members whose first order has come get their wallet. Returns how many.
create function open_wallets(through date) returns bigint language sql security definer
set search_path = pg_catalog, points, pg_temp as $$
    with opened as (
        insert into wallet (member_id)
        select distinct member_id from shop_order as waiting
        where is_waiting and effective_on <= through and not exists (select from wallet w where w.member_id = waiting.member_id)
        order by member_id
        on conflict do nothing
        returning 1)
    select count(*) from opened
$$;

-- What is still waiting when its day is being closed, and why, become findings. Returns how many.
create function refuse_leftovers(through date) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare r redemption; c cancellation; refused bigint := 0;
begin
    for r in select * from redemption where state = 'waiting' and effective_on <= through and member_id is null order by redemption_no loop
        perform find_event('unknown_member', 'redemptions', r.redemption_no, through, r.member_no, r.file_id,
            jsonb_build_object('points', r.points));
        update redemption set state = 'refused' where redemption_no = r.redemption_no;
        refused := refused + 1;
    end loop;
    for c in
        select x.* from cancellation x left join redemption spent using (redemption_no)
        where x.state = 'waiting' and x.effective_on <= through and spent.state is distinct from 'posted'
        order by x.redemption_no
    loop
        perform find_event('unknown_redemption', 'cancellations', c.redemption_no, through, null, c.file_id, '{}');
        update cancellation set state = 'refused' where redemption_no = c.redemption_no;
        refused := refused + 1;
    end loop;
    return refused;
end $$;

-- Members of an imported list get their wallet with the import. Returns how many.
create function open_wallets_of(members bigint []) returns bigint language sql security definer
set search_path = pg_catalog, points, pg_temp as $$
    with opened as (
        insert into wallet (member_id) select m from unnest(members) as m order by m on conflict do nothing returning 1)
    select count(*) from opened
$$;
