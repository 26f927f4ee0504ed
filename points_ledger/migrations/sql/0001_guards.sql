-- What keeps the ledger true whatever code writes to it: append-only tables, the trigger that applies
-- entries to wallet and lot, the days, the seals. SQLSTATEs of our own (class PL) are listed in errors.py.

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, lower(tg_op)
        using errcode = 'PL002', hint = 'Reverse a mistake by an entry that points at it.';
end $$;

-- Makes tables append-only, for whoever asks and in every session (always: also in one that replicates).
create function make_append_only(tables text []) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare name text;
begin
    foreach name in array tables loop
        execute format('create trigger append_only before update or delete on points.%I
                        for each row execute function points.refuse_change()', name);
        execute format('create trigger append_only_truncate before truncate on points.%I
                        for each statement execute function points.refuse_change()', name);
        execute format('alter table points.%I enable always trigger append_only', name);
        execute format('alter table points.%I enable always trigger append_only_truncate', name);
    end loop;
end $$;

-- Row triggers are cloned to every partition of entry; statement triggers are not, so open_day() puts TRUNCATE's on each.
select make_append_only(array[
    'entry', 'policy_version', 'policy_rule', 'posting_key', 'one_use', 'seal', 'hold', 'hold_lot', 'hold_end', 'order_line',
    'order_earning', 'returned_line', 'finding', 'feed_file', 'feed_total'
]);

-- A closed day never reopens, and no day disappears.
create function guard_book_day() returns trigger language plpgsql as $$
begin
    if tg_op <> 'UPDATE' or old.status = 'closed' or new.book_date <> old.book_date then
        raise exception 'a business date is closed for good: % refused', lower(tg_op) using errcode = 'PL002';
    end if;
    return new;
end $$;
create trigger only_closing before update or delete on book_day for each row execute function guard_book_day();

-- An approval is decided once; nothing else about it changes.
create function guard_approval() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' or old.approved_by is not null
        or (new.approval_id, new.what, new.payload, new.reason, new.proposed_by, new.proposed_at)
           is distinct from (old.approval_id, old.what, old.payload, old.reason, old.proposed_by, old.proposed_at) then
        raise exception 'an approval is decided once and never changed' using errcode = 'PL002';
    end if;
    return new;
end $$;
create trigger decided_once before update or delete on approval for each row execute function guard_approval();
create trigger append_only_truncate before truncate on approval for each statement execute function refuse_change();

-- Entries move wallet and lot -----------------------------------------------------------------------------------
--
-- Writers insert complete rows (seq, balance_after, debt_after, lot_remaining_after). This statement trigger
-- accepts them only when each is a legal posting and they continue the stored wallet and lot exactly, and then moves
-- both: compare-and-swap on the old balance, so that a row computed from anything but the current state is refused whole.
-- A few rows (a till's spend) are applied one by one, which costs a third; many are applied set by set. The sets are
-- planned for every statement (execute): a plan kept from when the tables were small would compare every lot with every
-- entry. They go by key, never by reading every wallet or lot: no sequential scans, no hash or merge joins.
-- The rule that makes a row no legal posting, by name; null when it is one. A CHECK would do, but Postgres reads each CHECK
-- anew for every statement that inserts (60 of 250 µs of a spend), while a trigger's plans are kept. Inlined: no SET.
-- An entry of an undo has an approval, may be of any kind, and may name what it answers.
create function broken_rule(
    kind text, sign smallint, points bigint, seq bigint, lot_seq bigint, lot_remaining_after bigint, usable_from date,
    valid_through date, idle_by int, reversal_of bigint, approval_id bigint, source text, source_ref text
) returns text language sql immutable as $$
    select case
        when source = '' or source_ref = '' then 'source_and_reference_are_named'
        when kind not in ('earn', 'spend', 'spend_reversal', 'claw_back', 'expire', 'reinstate', 'transfer_out', 'transfer_in',
            'adjust_up', 'adjust_down', 'owe', 'repay') then 'a_legal_kind'
        when (kind = 'owe') <> (lot_seq is null) then 'only_owing_has_no_lot'
        when (lot_seq is null) <> (lot_remaining_after is null) then 'a_lot_has_a_remainder'
        when seq = lot_seq and sign <> 1 then 'only_credits_open_lots'
        when case when seq = lot_seq then usable_from is null or lot_remaining_after <> points
            else usable_from is not null or valid_through is not null or idle_by is not null end then 'an_opened_lot_says_when'
        when case when kind in ('spend_reversal', 'reinstate') then reversal_of is null
            else reversal_of is not null and source <> 'undo' end then 'a_reversal_names_its_entry'
        when (kind in ('adjust_up', 'adjust_down', 'reinstate') or source = 'undo') <> (approval_id is not null)
            then 'power_needs_an_approval'
    end
$$;

-- Points that lapse by inactivity: until when, after a last activity, by the rule of a version. Lots are not rewritten.
create function idle_through(active_on date, version int) returns date language plpgsql stable as $$
begin
    return (select points.valid_through(idle_through.active_on, 'fixed', p.idle_months, p.round_up_to, null)
        from points.policy p where p.version = idle_through.version);
end $$;

-- The last day of a lot; null = it does not lapse. Inlined: no SET.
create function last_day(valid_through date, active_on date, idle_by int) returns date language sql stable as $$
    select case when idle_by is null then valid_through else least(valid_through, points.idle_through(active_on, idle_by)) end
$$;

create function has_lapsed_idle(member bigint, idle_by int, day date) returns boolean language plpgsql stable as $$
begin
    return (select day > points.idle_through(w.active_on, has_lapsed_idle.idle_by) from points.wallet w where w.member_id = member);
end $$;

create function refuse_broken(rule text) returns void language plpgsql as $$
begin
    raise exception 'an entry is no legal posting: %', rule
        using errcode = 'check_violation', constraint = rule, schema = 'points', table = 'entry';
end $$;

-- Holds the closing of a day off until this transaction ends; refuses a day that is not open.
create function hold_open(day date) returns boolean language plpgsql as $$
declare
    -- assigned, where performing it would be a statement more
    held_off constant text := pg_catalog.pg_advisory_xact_lock_shared(20261, day - date '2000-01-01')::text;
begin
    perform from points.book_day where book_date = day and status = 'open';
    if not found then
        raise exception 'business date % is not open', day using errcode = 'PL001';
    end if;
    return true;
end $$;

create function apply_entries() returns trigger language plpgsql security definer
set search_path = pg_catalog, points, pg_temp
set enable_seqscan = off
as $$
declare
    few constant int := 8;
    n bigint;
    opened bigint;
    on_lots bigint;
    expiries bigint;
    day date;
    newest date;
    broken text;
    e record;
    owes bigint;
    active_on date;
    counts bool := false;
    asked bigint;
    done bigint;
    was text [];
begin
    select count(*) into n from new_rows;
    if n = 0 then return null; end if;
    if n <= few then
        for i in 1..n loop
            if n = 1 then
                select * into e from new_rows;
            else
                select * into e from new_rows order by member_id, seq offset i - 1 limit 1;
            end if;
            broken := broken_rule(e.kind, e.sign, e.points, e.seq, e.lot_seq, e.lot_remaining_after, e.usable_from,
                e.valid_through, e.idle_by, e.reversal_of, e.approval_id, e.source, e.source_ref);
            if broken is not null then perform refuse_broken(broken); end if;
            if e.book_date is distinct from day and hold_open(e.book_date) then day := e.book_date; end if;
            owes := case e.kind when 'owe' then e.points when 'repay' then -e.points else 0 end;
            update wallet w
            set balance = e.balance_after, debt = e.debt_after, seq = e.seq, last_book = e.book_date
            where w.member_id = e.member_id and w.seq = e.seq - 1 and w.balance = e.balance_after - e.sign * e.points
                and w.debt = e.debt_after - owes and w.last_book <= e.book_date
            returning w.active_on into active_on;
            if not found then
                raise exception 'member_id %, seq %: the entry does not continue its wallet', e.member_id, e.seq
                    using errcode = 'PL010', hint = 'Lock the wallet first, then compute seq and balance_after from it.';
            end if;
            if e.seq = e.lot_seq then
                insert into lot (member_id, lot_seq, points, remaining, effective_on, usable_from, valid_through, idle_by, origin)
                values (e.member_id, e.lot_seq, e.points, e.lot_remaining_after, e.effective_on, e.usable_from, e.valid_through,
                    e.idle_by, e.source);
            elsif e.lot_seq is not null then
                update lot l
                set remaining = e.lot_remaining_after, expired = l.expired + case e.kind when 'expire' then e.points else 0 end
                where l.member_id = e.member_id and l.lot_seq = e.lot_seq
                    and l.remaining = e.lot_remaining_after - e.sign * e.points
                    and (e.kind <> 'expire'
                        or (l.expired = 0 and e.lot_remaining_after = 0 and l.held = 0
                            and last_day(l.valid_through, active_on, l.idle_by) < e.effective_on))
                    and (e.kind not in ('spend', 'transfer_out') or e.source = 'capture'
                        or (l.usable_from <= e.effective_on
                            and coalesce(last_day(l.valid_through, active_on, l.idle_by) >= e.effective_on, true)));
                if not found then
                    raise exception 'member_id %, seq %: the entry does not continue lot %, or takes one that may not be taken on that day',
                        e.member_id, e.seq, e.lot_seq using errcode = 'PL011';
                end if;
            end if;
            counts := counts or active_on is not null or e.idle_by is not null;
        end loop;
        if counts then
            update wallet w set active_on = greatest(w.active_on, x.day)
            from (
                select member_id, max(effective_on) as day, bool_or(idle_by is not null) as begins from new_rows
                where kind in ('earn', 'spend') and source <> 'undo' or idle_by is not null
                group by member_id
            ) as x
            where w.member_id = x.member_id and (w.active_on is not null or x.begins);
        end if;
        return null;
    end if;

    select count(*) filter (where seq = lot_seq), count(lot_seq), count(*) filter (where kind = 'expire'), min(book_date),
        max(book_date), min(broken_rule(kind, sign, points, seq, lot_seq, lot_remaining_after, usable_from, valid_through,
        idle_by, reversal_of, approval_id, source, source_ref))
    into opened, on_lots, expiries, day, newest, broken
    from new_rows;
    if broken is not null then perform refuse_broken(broken); end if;
    if day = newest then
        perform hold_open(day);
    else
        for day in select distinct book_date from new_rows order by book_date loop
            perform hold_open(day);
        end loop;
    end if;

    was := array[current_setting('enable_hashjoin'), current_setting('enable_mergejoin'), current_setting('jit')];
    perform set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true);
    execute $set$
    with chained as (
        select member_id, seq, book_date, balance_after - moved as balance_before, debt_after - owed as debt_before, moved, owed,
            lag(balance_after) over w as balance_was, lag(debt_after) over w as debt_was
        from (
            select member_id, seq, book_date, balance_after, debt_after, sign * points as moved,
                case kind when 'owe' then points when 'repay' then -points else 0 end as owed
            from new_rows
        ) as x
        window w as (partition by member_id order by seq)
    ), change as (
        select member_id, min(seq) - 1 as seq_before, max(seq) as seq_after, min(book_date) as book_date,
            min(balance_before) filter (where balance_was is null) as balance_before, sum(moved)::bigint as moved,
            min(debt_before) filter (where balance_was is null) as debt_before, sum(owed)::bigint as owed,
            min(book_date) = max(book_date) and max(seq) - min(seq) + 1 = count(*)
                and bool_and(balance_was is null or (balance_before = balance_was and debt_before = debt_was)) as chains
        from chained
        group by member_id
    ), applied as (
        update wallet w
        set balance = w.balance + c.moved, debt = w.debt + c.owed, seq = c.seq_after, last_book = c.book_date
        from change c
        where c.chains and w.member_id = c.member_id and w.seq = c.seq_before and w.balance = c.balance_before
            and w.debt = c.debt_before and w.last_book <= c.book_date
        returning 1
    )
    select (select count(*) from change), (select count(*) from applied)
    $set$ into asked, done;
    if asked <> done then
        raise exception '% of % members: entries do not continue their wallet', asked - done, asked
            using errcode = 'PL010', hint = 'Lock the wallet first, then compute seq and balance_after from it.';
    end if;

    -- the rules above have seen to it that an opening holds all its points
    if opened > 0 then
        insert into lot (member_id, lot_seq, points, remaining, effective_on, usable_from, valid_through, idle_by, origin)
        select member_id, lot_seq, points, points, effective_on, usable_from, valid_through, idle_by, source
        from new_rows
        where seq = lot_seq;
    end if;
    if expiries = n then
        -- an expiry takes its lot whole, so a lot has one at most: no entries of a lot to chain
        execute $set$
        update lot l
        set remaining = 0, expired = e.points
        from new_rows e
        where l.member_id = e.member_id and l.lot_seq = e.lot_seq and l.remaining = e.points and e.lot_remaining_after = 0
            and l.expired = 0 and l.held = 0
            and case when l.idle_by is null then l.valid_through else (select last_day(l.valid_through, w.active_on,
                l.idle_by) from wallet w where w.member_id = l.member_id) end < e.effective_on
        $set$;
        get diagnostics done = row_count;
        asked := n;
    elsif opened < on_lots then
        execute $set$
        with chained as (
            select member_id, lot_seq, lot_remaining_after - moved as remaining_before, moved, kind, points, effective_on, is_spent,
                lag(lot_remaining_after) over (partition by member_id, lot_seq order by seq) as remaining_was
            from (
                select member_id, lot_seq, seq, lot_remaining_after, sign * points as moved, kind, points, effective_on,
                    kind in ('spend', 'transfer_out') and source <> 'capture' as is_spent
                from new_rows
                where lot_seq is not null and seq <> lot_seq
            ) as x
        ), change as (
            select member_id, lot_seq, min(remaining_before) filter (where remaining_was is null) as remaining_before,
                sum(moved)::bigint as moved,
                coalesce(sum(points) filter (where kind = 'expire'), 0)::bigint as expired,
                min(effective_on) filter (where kind = 'expire') as expired_on,
                count(*) filter (where kind = 'expire') as expiries,
                min(effective_on) filter (where is_spent) as first_spent_on,
                max(effective_on) filter (where is_spent) as last_spent_on,
                bool_and(remaining_was is null or remaining_before = remaining_was) as chains
            from chained
            group by member_id, lot_seq
        ), applied as (
            update lot l
            set remaining = l.remaining + c.moved, expired = l.expired + c.expired
            from change c
            where c.chains and l.member_id = c.member_id and l.lot_seq = c.lot_seq and l.remaining = c.remaining_before
                and (c.expired = 0
                    or (c.expiries = 1 and l.expired = 0 and l.remaining + c.moved = 0 and l.held = 0
                        and case when l.idle_by is null then l.valid_through else (select last_day(l.valid_through, w.active_on,
                            l.idle_by) from wallet w where w.member_id = l.member_id) end < c.expired_on))
                and (c.first_spent_on is null
                    or (l.usable_from <= c.first_spent_on and coalesce(l.valid_through >= c.last_spent_on, true)
                        and (l.idle_by is null or not has_lapsed_idle(l.member_id, l.idle_by, c.last_spent_on))))
            returning 1
        )
        select (select count(*) from change), (select count(*) from applied)
        $set$ into asked, done;
    end if;
    if asked <> done then
        raise exception '% of % lots: entries do not continue their lot, or take one that may not be taken on that day',
            asked - done, asked using errcode = 'PL011';
    end if;
    if exists (select from policy where idle_months is not null) then
        update wallet w set active_on = greatest(w.active_on, x.day)
        from (
            select member_id, max(effective_on) as day, bool_or(idle_by is not null) as begins from new_rows
            where kind in ('earn', 'spend') and source <> 'undo' or idle_by is not null
            group by member_id
        ) as x
        where w.member_id = x.member_id and (w.active_on is not null or x.begins);
    end if;
    perform set_config('enable_hashjoin', was[1], true), set_config('enable_mergejoin', was[2], true), set_config('jit', was[3], true);
    return null;
end $$;
create trigger apply_entries after insert on entry
referencing new table as new_rows for each statement execute function apply_entries();
alter table entry enable always trigger apply_entries;

-- Days -------------------------------------------------------------------------------------------------------------

-- plpgsql keeps its plan; an SQL function that cannot be inlined is planned anew at every call before PostgreSQL 18.
create function last_closed() returns date language plpgsql stable as $$
begin
    return (select book_date from points.book_day where status = 'closed' order by book_date desc limit 1);
end $$;

-- Opens a business date and makes the partition of its month. Safe to call again, and by two at once.
create function open_day(day date) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    closed date;
    month date;
    name text;
    started date;
begin
    perform from book_day where book_date = day;
    if found then return; end if;
    closed := last_closed();
    month := date_trunc('month', day)::date;
    name := 'entry_' || to_char(day, 'YYYYMM');
    started := (select min(effective_from) from policy_version);
    if day <= closed then
        raise exception 'business date % is not open: % is already closed', day, closed using errcode = 'PL001';
    end if;
    if started is null or day < started or day > coalesce(closed, started) + 800 then
        raise exception 'business date % is outside the programme: it starts on %, the last closed day is %',
            day, started, coalesce(closed::text, 'none') using errcode = 'PL008';
    end if;
    perform pg_advisory_xact_lock(20262, 0);
    if to_regclass('points.' || name) is null then
        -- ATTACH takes a weaker lock than PARTITION OF: online spends keep running
        execute format('create table points.%I (like points.entry including defaults including constraints including generated)', name);
        execute format('alter table points.%I add constraint month check (book_date >= %L and book_date < %L)', name, month, (month + interval '1 month')::date);
        execute format('alter table points.entry attach partition points.%I for values from (%L) to (%L)',
            name, month, (month + interval '1 month')::date);
        -- what let ATTACH trust the table without reading it; the partition's own bounds say it from now on
        execute format('alter table points.%I drop constraint month', name);
        execute format('create trigger append_only_truncate before truncate on points.%I
                        for each statement execute function points.refuse_change()', name);
        execute format('alter table points.%I enable always trigger append_only_truncate', name);
        execute format('alter table points.%I enable always trigger append_only', name);
        -- fires only for an insert that names the partition, which would pass by apply_entries
        execute format('create trigger through_entry_only before insert on points.%I
                        for each statement execute function points.refuse_change()', name);
        execute format('alter table points.%I enable always trigger through_entry_only', name);
    end if;
    insert into book_day (book_date) values (day) on conflict do nothing;
end $$;

-- Makes a day final. Days close in order and without gaps.
create function close_day(day date, run bigint) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    expected date := coalesce(last_closed() + 1, (select min(effective_from) from policy_version));
begin
    if day = last_closed() then return; end if;
    if day is distinct from expected then
        raise exception 'business date % cannot close now: % is next', day, expected using errcode = 'PL001';
    end if;
    perform open_day(day);
    perform open_day(day + 1);
    perform open_day((date_trunc('month', day) + interval '1 month')::date);  -- the next month's partition, ahead of need
    perform pg_advisory_xact_lock(20261, day - date '2000-01-01');  -- waits for postings under way, keeps later ones out
    update book_day set status = 'closed', closed_at = clock_timestamp(), closed_by_run = run
    where book_date = day and status = 'open';
end $$;

-- Seals --------------------------------------------------------------------------------------------------------------

-- RFC 6962: leaves hashed with prefix 0x00, nodes with 0x01, an odd node is promoted.
create function merkle_root(leaves bytea []) returns bytea language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    if coalesce(cardinality(leaves), 0) = 0 then return sha256(''::bytea); end if;
    while cardinality(leaves) > 1 loop
        select array_agg(case when pair is null then node else sha256('\x01'::bytea || node || pair) end order by n) into leaves
        from (
            select n, node, lead(node) over (order by n) as pair
            from unnest(leaves) with ordinality as level (node, n)
        ) as pairs
        where n % 2 = 1;
    end loop;
    return leaves[1];
end $$;

-- The sealed image of an entry: length-prefixed, typed and NULL-aware, so two different rows never look alike.
-- No search_path of its own, every name in full: a planner puts it in line, and sealing takes a fraction of the time.
-- As bigint, not as the domains of the columns: the image holds the number of each type, and a domain's differs by database.
create function entry_leaf(e entry) returns bytea language sql stable as $$
    select pg_catalog.sha256('\x00'::pg_catalog.bytea operator(pg_catalog.||) pg_catalog.record_send(row(
        e.member_id, e.seq::bigint, e.book_date, e.effective_on, e.journal_id, e.kind, e.sign, e.points::bigint, e.lot_seq,
        e.lot_remaining_after::bigint, e.balance_after::bigint, e.debt_after::bigint, e.reversal_of, e.approval_id, e.run_id,
        e.usable_from, e.valid_through, e.idle_by, e.policy_version, e.source, e.source_ref, e.reason, e.actor, e.recorded_at)))
$$;

-- What the seal of a day must be, computed from its entries and from the seal before it.
create function expected_seal(day date) returns table (
    entries bigint, points_by_kind jsonb, outstanding bigint, debt bigint, root bytea, previous bytea, checkpoint bytea
) language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    with before as (
        select s.outstanding, s.debt, s.checkpoint from seal s where s.book_date < day order by s.book_date desc limit 1
    ), kinds as (
        select e.kind, sum(e.points) as points, sum(e.sign * e.points) as moved,
            sum(case e.kind when 'owe' then e.points when 'repay' then -e.points else 0 end) as owed
        from entry e where e.book_date = day group by e.kind
    ), totals as (
        select (select count(*) from entry e where e.book_date = day) as entries,
            coalesce(jsonb_object_agg(k.kind, k.points), '{}') as points_by_kind,
            (coalesce((select outstanding from before), 0) + coalesce(sum(k.moved), 0))::bigint as outstanding,
            (coalesce((select debt from before), 0) + coalesce(sum(k.owed), 0))::bigint as debt,
            (select merkle_root(array_agg(entry_leaf(e) order by e.member_id, e.seq)) from entry e where e.book_date = day) as root,
            (select checkpoint from before) as previous
        from kinds k
    )
    select t.*, sha256(convert_to(concat_ws(E'\n', day, t.entries, t.points_by_kind, t.outstanding, t.debt,
        encode(t.root, 'hex'), encode(t.previous, 'hex')), 'UTF8'))
    from totals t
$$;

create function seal_day(day date) returns seal language plpgsql security definer
set search_path = pg_catalog, points, pg_temp
set jit = off as $$
declare sealed seal;
begin
    perform from book_day where book_date = day and status = 'closed';
    if not found then
        raise exception 'business date % is not closed: only a closed day is sealed', day using errcode = 'PL001';
    end if;
    insert into seal (book_date, entries, points_by_kind, outstanding, debt, root, previous, checkpoint)
    select day, s.* from expected_seal(day) s
    on conflict (book_date) do nothing;
    select * into strict sealed from seal where book_date = day;
    return sealed;
end $$;
