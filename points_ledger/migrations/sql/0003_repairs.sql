-- Repairs of what a check found: proposed from the finding, approved by another login, carried out once. Nothing repairs by
-- itself. An expiry posts an entry; a rebuild moves no points, it brings a projection back to what its entries say.

-- payload: {"finding_no", "repair": "expire" | "rebuild" | "rebuild_tier", and the finding's key}
create function propose_repair(no bigint, repair text, reason text) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    f check_finding;
    asked jsonb;
begin
    select * into f from check_finding where finding_no = no and cleared_by is null;
    if not found then raise exception 'finding % is not open', no using errcode = 'PL005'; end if;
    if repair is null or repair not in ('expire', 'rebuild', 'rebuild_tier') or not f.key ? 'member_id'
        or (repair = 'expire' and not f.key ? 'lot_seq') then
        raise exception 'finding % cannot be repaired by "%"', no, repair using errcode = 'PL009';
    end if;
    asked := f.key || jsonb_build_object('finding_no', no, 'check', f.check_id, 'repair', repair);
    if repair = 'expire' then
        asked := asked || (
            select jsonb_build_object('points', l.remaining) from lot l
            where l.member_id = (f.key ->> 'member_id')::bigint and l.lot_seq = (f.key ->> 'lot_seq')::bigint and l.is_open);
        if asked is null then raise exception 'the lot of finding % is empty: check again', no using errcode = 'PL007'; end if;
    end if;
    return propose_once('repair', asked, asked, reason);
end $$;

-- Clears one lot that a close should have cleared. Refuses one that is not due, is held, or is empty by now.
create function repair_expire(member bigint, lot bigint, why text) returns bigint language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    w wallet;
    l lot;
    book date;
    lapsed date;
begin
    select * into strict w from wallet where member_id = member for no key update;
    select x.* into l from lot x where x.member_id = member and x.lot_seq = repair_expire.lot;
    if not found or l.remaining = 0 then raise exception 'lot % is empty already', lot using errcode = 'PL007'; end if;
    lapsed := last_day(l.valid_through, w.active_on, l.idle_by);
    if l.held > 0 or lapsed is null or lapsed > last_closed() then
        raise exception 'lot % is held or still valid: it may not be cleared', lot using errcode = 'PL009';
    end if;
    if exists (select from gated_lots(last_closed()) g where g.member_id = member and g.lot_seq = lot and g.fate <> 'clear') then
        raise exception 'no notice that named the last day of lot % was accepted in time: the next close defers it', lot
            using errcode = 'PL009';
    end if;
    book := book_date_for(last_closed() + 1, w.last_book);
    perform open_day(book);
    insert into entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after, balance_after,
        debt_after, kind, source, source_ref, reason)
    values (member, w.seq + 1, book, lapsed + 1, journal_of(member, 'expiry', lot::text), l.remaining, lot, 0,
        w.balance - l.remaining, w.debt, 'expire', 'expiry', lot::text, why);
    return l.remaining;
end $$;

-- Brings a member's wallet and lots back to what the entries and holds say. Refuses when the entries themselves do not chain:
-- then there is nothing to rebuild from.
create function repair_rebuild(member bigint) returns bigint language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare broken bigint;
begin
    perform from wallet where member_id = member for no key update;
    select count(*) into broken from (
        select seq, balance_after, debt_after, lot_remaining_after, row_number() over so_far as n, sum(sign * points) over so_far as balance,
            sum(case kind when 'owe' then points when 'repay' then -points else 0 end) over so_far as debt,
            case when lot_seq is not null then sum(sign * points) over (partition by lot_seq order by seq) end as remaining
        from entry where member_id = member
        window so_far as (order by seq)
    ) as chain
    where (seq, balance_after, debt_after, lot_remaining_after) is distinct from (n, balance, debt, remaining);
    if broken > 0 then
        raise exception '% entries of member_id % do not chain: nothing can be rebuilt from them', broken, member using errcode = 'PL010';
    end if;
    delete from lot l where l.member_id = member and not exists (
        select from entry e where e.member_id = member and e.seq = l.lot_seq and e.lot_seq = e.seq);
    insert into lot as l (member_id, lot_seq, points, remaining, held, expired, effective_on, usable_from, valid_through, idle_by, origin)
    select member, o.seq, o.points, t.remaining, coalesce(h.held, 0), t.expired, o.effective_on, o.usable_from,
        coalesce(d.to_date, o.valid_through), case when d.to_date is null then o.idle_by end, o.source
    from entry o
    left join deferred_lot d on d.member_id = o.member_id and d.lot_seq = o.seq
    inner join (
        select lot_seq, sum(sign * points) as remaining, coalesce(sum(points) filter (where kind = 'expire'), 0) as expired
        from entry where member_id = member and lot_seq is not null group by lot_seq
    ) as t on t.lot_seq = o.seq
    left join (
        select p.lot_seq, sum(p.points) as held from hold_lot p
        where p.member_id = member and not exists (select from hold_end x where x.member_id = member and x.hold_no = p.hold_no)
        group by p.lot_seq
    ) as h on h.lot_seq = o.seq
    where o.member_id = member and o.lot_seq = o.seq
    on conflict (member_id, lot_seq) do update set points = excluded.points, remaining = excluded.remaining, held = excluded.held,
        expired = excluded.expired, effective_on = excluded.effective_on, usable_from = excluded.usable_from,
        valid_through = excluded.valid_through, idle_by = excluded.idle_by, origin = excluded.origin;
    insert into wallet as w (member_id, balance, held, debt, seq, last_book, active_on)
    select member, coalesce(sum(e.sign * e.points), 0),
        (select coalesce(sum(l.held), 0) from lot l where l.member_id = member),
        coalesce(sum(case e.kind when 'owe' then e.points when 'repay' then -e.points else 0 end), 0), count(e.*),
        coalesce(max(e.book_date), '-infinity'), (select a.active_on from last_activities('infinity') a where a.member_id = member)
    from entry e where e.member_id = member
    on conflict (member_id) do update set balance = excluded.balance, held = excluded.held, debt = excluded.debt, seq = excluded.seq,
        last_book = excluded.last_book, active_on = excluded.active_on;
    return (select balance from wallet where member_id = member);
end $$;

-- What a member holds, as the newest decision says.
create function repair_rebuild_tier(member bigint) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
begin
    perform from wallet where member_id = member for no key update;
    insert into member_tier (member_id, decision_no, tier, held_from, valid_to, review_on, protected_until)
    select member_id, decision_no, tier, held_from, valid_to, review_on, protected_until
    from tier_decision where member_id = member order by decision_no desc limit 1
    on conflict (member_id) do update set decision_no = excluded.decision_no, tier = excluded.tier, held_from = excluded.held_from,
        valid_to = excluded.valid_to, review_on = excluded.review_on, protected_until = excluded.protected_until;
    if not found then delete from member_tier where member_id = member; end if;
end $$;

-- The second person's one call: approves what waits and carries it out, both or neither. Returns the points it cleared.
create function approve_and_repair(approval bigint) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    asked jsonb;
    why constant text := (select a.reason from approval a where a.approval_id = approval);
begin
    perform approve(approval);
    asked := approved(approval, 'repair');
    insert into one_use values ('approval', (asked ->> 'member_id')::bigint, approval);
    case asked ->> 'repair'
        when 'expire' then
            return repair_expire((asked ->> 'member_id')::bigint, (asked ->> 'lot_seq')::bigint, format('finding %s: %s', asked ->> 'finding_no', why));
        when 'rebuild' then perform repair_rebuild((asked ->> 'member_id')::bigint);
        when 'rebuild_tier' then perform repair_rebuild_tier((asked ->> 'member_id')::bigint);
    end case;
    return 0;
end $$;

revoke execute on function propose_repair(bigint, text, text), repair_expire(bigint, bigint, text), repair_rebuild(bigint),
    repair_rebuild_tier(bigint), approve_and_repair(bigint) from public;
grant execute on function propose_repair(bigint, text, text) to loyalty_batch, loyalty_approver;
grant execute on function approve_and_repair(bigint) to loyalty_approver;
