-- The verbs (design 5.3): any till, app or language calls them in one round trip; imports call them server-side.
--
-- Common to all: the wallet is locked first (in one statement; what depends on it is read in a later one), the
-- key (member, source, source_ref) makes the call exactly-once, and dates are arguments. `day` is the day it
-- happened; it is booked on that day while it is open, else on the first open day after it.
-- The helpers have no SET of their own, which costs as much as a query: only the verbs call them, with the search
-- path pinned, and they qualify what they name all the same.

create function member_by_no(no text) returns bigint language plpgsql stable
set search_path = pg_catalog, points, pg_temp as $$
declare found_id bigint;
begin
    select m.member_id into found_id from member m join wallet w using (member_id) where m.member_no = no;
    if not found then
        raise exception 'member % is not known', no using errcode = 'PL004';
    end if;
    return found_id;
end $$;

-- Refuses what no till can mean: no day, no reference, or a day far ahead of the open one (a clock that is wrong would
-- move the member's books into the future, and the shop's own orders of these days after it). Returns the first day after
-- the closed ones; null when none is closed.
create function refuse_nonsense(day date, source text, source_ref text) returns date language plpgsql stable as $$
declare
    open_from constant date := points.last_closed() + 1;
    newest constant date := coalesce(open_from, (select min(effective_from) from points.policy_version)) + 31;
begin
    if day is null or coalesce(source, '') = '' or coalesce(source_ref, '') = '' then
        raise exception 'a day, a source and a reference are needed' using errcode = 'PL009';
    end if;
    if day > newest then
        raise exception 'business date % is more than 31 days ahead of the open one', day using errcode = 'PL008';
    end if;
    return open_from;
end $$;

-- The book date of an event of `day`: never before a day that is closed, never before the member's last entry.
create function book_date_for(day date, last_book date) returns date language sql stable as $$
    select greatest(day, last_book, points.last_closed() + 1)
$$;

-- The same for the same event, so that a rebuilt ledger has the same journals. Inlined into statements: no SET, and
-- member::text because bigint || text is only stable, which would keep an immutable function from being inlined.
create function journal_of(member bigint, source text, ref text) returns uuid language sql immutable as $$
    select pg_catalog.md5(member::text || E'\x1f' || source || E'\x1f' || ref)::uuid
$$;

create function request_hash(variadic parts text []) returns bytea language sql stable as $$
    select pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.array_to_string(parts, E'\x1f', '~'), 'UTF8'))
$$;

-- True when this event is already posted with the same content; refuses the key with other content.
create function already_posted(member bigint, src text, ref text, request bytea) returns boolean language plpgsql stable as $$
declare known bytea;
begin
    select k.request_sha256 into known
    from points.posting_key k where k.member_id = member and k.source = src and k.source_ref = ref;
    if not found then return false; end if;
    if known <> request then
        raise exception '% % is already posted with other content', src, ref using errcode = 'PL003';
    end if;
    return true;
end $$;

-- Takes up to `wanted` points from the member's lots that are usable on `day`, in spending order (design 7).
-- Returns what it took; with all_or_nothing it takes nothing when there is not enough.
create function take_points(
    member bigint, wanted bigint, all_or_nothing boolean, entry_kind text, day date, book date, journal uuid,
    src text, ref text, run bigint, policy int, why text, approval bigint
) returns bigint language plpgsql as $$
declare
    -- a declared cursor is planned for its first rows: it walks the index of open lots in order and stops early
    usable cursor for
        select x.lot_seq, x.remaining, x.remaining - x.held as free
        from points.lot x
        where x.member_id = member and x.is_open and x.remaining > x.held
            and x.usable_from <= day and coalesce(day <= x.valid_through, true)
            and (x.idle_by is null or not points.has_lapsed_idle(member, x.idle_by, day))
        order by x.valid_through nulls last, x.lot_seq;
    first record;
    take bigint;
    total bigint := 0;
    lots bigint [];
    takes bigint [];
    left_over bigint [];
    totals bigint [];
begin
    -- most are met by one lot: half the cost of the general way below
    select x.lot_seq, x.remaining, x.remaining - x.held as free into first
    from points.lot x
    where x.member_id = member and x.is_open and x.remaining > x.held
        and x.usable_from <= day and coalesce(day <= x.valid_through, true)
        and (x.idle_by is null or not points.has_lapsed_idle(member, x.idle_by, day))
    order by x.valid_through nulls last, x.lot_seq limit 1;
    if not found then return 0; end if;
    if wanted between 1 and first.free then
        insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
            balance_after, debt_after, run_id, approval_id, policy_version, kind, source, source_ref, reason)
        select member, w.seq + 1, book, day, journal, wanted, first.lot_seq, first.remaining - wanted, w.balance - wanted, w.debt,
            run, approval, policy, entry_kind, src, ref, why
        from points.wallet w
        where w.member_id = member;
        return wanted;
    end if;
    for l in usable loop
        take := least(l.free, wanted - total);
        total := total + take;
        lots := lots || l.lot_seq;
        takes := takes || take;
        left_over := left_over || (l.remaining - take);
        totals := totals || total;
        exit when total >= wanted;
    end loop;
    if total <= 0 or (all_or_nothing and total < wanted) then return 0; end if;
    insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, run_id, approval_id, policy_version, kind, source, source_ref, reason)
    select member, w.seq + t.n, book, day, journal, t.take, t.lot_seq, t.left_over, w.balance - t.total, w.debt, run, approval,
        policy, entry_kind, src, ref, why
    from points.wallet w, unnest(lots, takes, left_over, totals) with ordinality as t (lot_seq, take, left_over, total, n)
    where w.member_id = member;
    return total;
end $$;

-- Opens a lot for a member whose wallet the caller has locked. Returns its lot_seq.
create function open_lot(
    member bigint, amount bigint, entry_kind text, day date, book date, journal uuid, src text, ref text, run bigint,
    usable date, lapses date, reversed bigint, approval bigint, why text, idle int default null
) returns bigint language plpgsql as $$
declare opened bigint;
begin
    insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, run_id, kind, source, source_ref, usable_from, valid_through, idle_by, reversal_of, approval_id, reason)
    select member, w.seq + 1, book, day, journal, amount, w.seq + 1, amount, w.balance + amount, w.debt, run,
        entry_kind, src, ref, usable, lapses, idle, reversed, approval, why
    from points.wallet w where w.member_id = member
    returning lot_seq into opened;
    return opened;
end $$;

-- wallet.active_on rebuilt from the entries booked before a day: the projection's rule, said once.
create function last_activities(before date) returns table (member_id bigint, active_on date) language sql stable as $$
    select e.member_id, max(e.effective_on) filter (where e.kind in ('earn', 'spend') and e.source <> 'undo' or e.idle_by is not null)
    from points.entry e
    join (select b.member_id, min(b.seq) as seq from points.entry b where b.idle_by is not null group by b.member_id) began
        on began.member_id = e.member_id and e.seq >= began.seq
    where e.book_date < before
    group by e.member_id
$$;

-- The lots that the close of a day clears, with their last day: held points wait for their hold. Inactivity is looked up
-- among members who have been inactive long enough for the shortest rule.
create function due_lots(closed date) returns table (member_id bigint, lot_seq bigint, remaining bigint, last_day date)
language sql stable as $$
    select l.member_id, l.lot_seq, l.remaining, case when l.idle_by is null then l.valid_through else (
        select points.last_day(l.valid_through, w.active_on, l.idle_by) from points.wallet w where w.member_id = l.member_id) end
    from points.lot l
    where l.is_open and l.held = 0 and l.valid_through <= closed
    union all
    select l.member_id, l.lot_seq, l.remaining, points.last_day(l.valid_through, w.active_on, l.idle_by)
    from points.wallet w
    join points.lot l on l.member_id = w.member_id and l.is_open and l.held = 0 and l.idle_by is not null
    -- three days more, because months clamp: a month after 31 January is 28 February
    where (select min(idle_months) from points.policy) is not null  -- or nobody is looked at
        and w.active_on <= closed - make_interval(months => (select min(idle_months) from points.policy)) + interval '3 days'
        and w.balance > 0
        and coalesce(l.valid_through > closed, true) and points.idle_through(w.active_on, l.idle_by) <= closed
$$;

create function remember_posting(member bigint, src text, ref text, request bytea, journal uuid, book date, before bigint)
returns void language plpgsql as $$
begin
    insert into points.posting_key (member_id, source, source_ref, request_sha256, journal_id, book_date, first_seq, last_seq)
    select member, src, ref, request, journal, book, before + 1, w.seq from points.wallet w where w.member_id = member;
end $$;

create type posting as (journal_id uuid, book_date date, points bigint, balance bigint, debt bigint);

-- The first answer to a call, as it was given: from the entries its key names.
create function posting_of(member bigint, src text, ref text) returns posting language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select row(k.journal_id, k.book_date, sum(e.points), (array_agg(e.balance_after order by e.seq desc))[1],
        (array_agg(e.debt_after order by e.seq desc))[1])::posting
    from posting_key k
    join entry e on e.member_id = k.member_id and e.book_date = k.book_date and e.seq between k.first_seq and k.last_seq
    where k.member_id = member and k.source = src and k.source_ref = ref
    group by k.journal_id, k.book_date
$$;

-- spend: a redemption ---------------------------------------------------------------------------------------------
create function spend(
    member_no text, amount bigint, day date, source text, source_ref text, reason text default null, run_id bigint default null
) returns posting language plpgsql security definer
set search_path = pg_catalog, points, pg_temp
set enable_bitmapscan = off  -- the first lot comes from the index in its order: nothing to collect and sort
as $$
declare
    request constant bytea := request_hash('spend', amount::text, day::text);
    w wallet;
    open_from date;
    book date;
    journal uuid;
begin
    select o.* into w from member m join wallet o using (member_id) where m.member_no = spend.member_no for no key update of o;
    if not found then
        raise exception 'member % is not known', member_no using errcode = 'PL004';
    end if;
    open_from := refuse_nonsense(day, source, source_ref);
    if amount is null or amount <= 0 then
        raise exception 'points must be a positive whole number' using errcode = 'PL009';
    end if;
    -- these name the events of feeds and other verbs: taken by a till, one of them would stop the night of the real event
    if source in ('order', 'return', 'redemption', 'cancellation', 'expiry', 'transfer', 'capture', 'adjustment', 'reinstatement') then
        raise exception 'the source % is not a till''s', source using errcode = 'PL009';
    end if;
    if already_posted(w.member_id, source, source_ref, request) then return posting_of(w.member_id, source, source_ref); end if;
    if w.is_blocked then perform refuse_blocked(member_no); end if;
    journal := journal_of(w.member_id, source, source_ref);
    book := greatest(day, w.last_book, open_from);
    if book is distinct from open_from then perform open_day(book); end if;  -- the close before it has opened that one
    if take_points(w.member_id, amount, true, 'spend', day, book, journal, source, source_ref, run_id, null, reason, null) = 0 then
        raise exception 'member % has fewer than % points available on %', member_no, amount, day using errcode = 'PL006';
    end if;
    perform remember_posting(w.member_id, source, source_ref, request, journal, book, w.seq);
    return row(journal, book, amount, w.balance - amount, w.debt)::posting;
end $$;

create function available(member bigint, day date) returns bigint language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select coalesce(sum(remaining - held), 0)::bigint from lot
    where member_id = member and is_open and usable_from <= day and (valid_through is null or day <= valid_through)
        and (idle_by is null or not has_lapsed_idle(member, idle_by, day))
$$;

-- reverse_spend: a cancelled redemption (design 7) ---------------------------------------------------------------
-- Points return to the lots they came from, last taken first. A lot that has lapsed meanwhile is not revived: a
-- new one is opened, valid through the later of its old date and 30 days after the cancellation.
create function reverse_spend(
    member bigint, spend_source text, spend_ref text, day date, source text, source_ref text, run_id bigint default null,
    booked_from date default null
) returns posting language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    request constant bytea := request_hash('reverse_spend', spend_source, spend_ref, day::text);
    journal constant uuid := journal_of(member, source, source_ref);
    w wallet;
    k posting_key;
    e record;
    book date;
    lapsed boolean;
begin
    select * into w from wallet where wallet.member_id = member for no key update;
    if not found then raise exception 'member is not known' using errcode = 'PL004'; end if;
    if already_posted(member, source, source_ref, request) then return posting_of(member, source, source_ref); end if;
    select * into k from posting_key p where p.member_id = member and p.source = spend_source and p.source_ref = spend_ref;
    if not found then
        raise exception '% % was never posted: nothing to reverse', spend_source, spend_ref using errcode = 'PL005';
    end if;
    book := book_date_for(coalesce(booked_from, day), w.last_book);
    perform open_day(book);
    for e in
        select s.seq, s.points, s.lot_seq, s.kind from entry s
        where s.member_id = member and s.book_date = k.book_date and s.seq between k.first_seq and k.last_seq
        order by s.seq desc
    loop
        if e.kind <> 'spend' then
            raise exception '% % is not a spend', spend_source, spend_ref using errcode = 'PL005';
        end if;
        insert into one_use values ('reversal', member, e.seq) on conflict do nothing;
        if not found then
            raise exception '% % has been reversed already', spend_source, spend_ref using errcode = 'PL007';
        end if;
        -- also when it lapsed between the cancellation and a late word of it: its last day is closed
        select l.valid_through < greatest(day, last_closed() + 1)
            or (l.idle_by is not null and has_lapsed_idle(member, l.idle_by, greatest(day, last_closed() + 1)))
        into lapsed from lot l
        where l.member_id = member and l.lot_seq = e.lot_seq;
        if lapsed then
            perform open_lot(member, e.points, 'spend_reversal', day, book, journal, source, source_ref, run_id, day,
                (select greatest(l.valid_through, day + 30) from lot l where l.member_id = member and l.lot_seq = e.lot_seq),
                e.seq, null, null);
        else
            insert into entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
                balance_after, debt_after, run_id, kind, source, source_ref, reversal_of)
            select member, v.seq + 1, book, day, journal, e.points, l.lot_seq, l.remaining + e.points, v.balance + e.points,
                v.debt, reverse_spend.run_id, 'spend_reversal', reverse_spend.source, reverse_spend.source_ref, e.seq
            from wallet v join lot l using (member_id)
            where v.member_id = member and l.lot_seq = e.lot_seq;
        end if;
    end loop;
    perform remember_posting(member, source, source_ref, request, journal, book, w.seq);
    return posting_of(member, source, source_ref);
end $$;

-- Holds: points set aside for an order that is not final ----------------------------------------------------------
create function hold(member_no text, amount bigint, day date, through date, hold_no text) returns bigint
language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    member constant bigint := member_by_no(member_no);
    known hold;
begin
    perform refuse_nonsense(day, 'hold', hold_no);
    if through is null or through < day then
        raise exception 'a hold ends on a day that is not before it begins' using errcode = 'PL009';
    end if;
    if amount is null or amount <= 0 then
        raise exception 'points must be a positive whole number' using errcode = 'PL009';
    end if;
    perform from wallet where member_id = member for no key update;
    select * into known from hold h where h.member_id = member and h.hold_no = hold.hold_no;
    if found then
        if (known.points, known.held_on, known.valid_through) is distinct from (amount, day, through) then
            raise exception 'hold % already exists with other content', hold_no using errcode = 'PL003';
        end if;
        return known.points;
    end if;
    if (select w.is_blocked from wallet w where w.member_id = member) then perform refuse_blocked(member_no); end if;
    if available(member, day) < amount then
        raise exception 'member % has fewer than % points available on %', member_no, amount, day using errcode = 'PL006';
    end if;
    insert into hold (member_id, hold_no, points, held_on, valid_through) values (member, hold_no, amount, day, through);
    with usable as (
        select l.lot_seq, l.remaining - l.held as free, sum(l.remaining - l.held) over spending_order as upto
        from lot l
        where l.member_id = member and l.is_open and l.remaining > l.held
            and l.usable_from <= day and (l.valid_through is null or day <= l.valid_through)
            and (l.idle_by is null or not has_lapsed_idle(member, l.idle_by, day))
        window spending_order as (order by l.valid_through nulls last, l.lot_seq)
    ), pinned as (
        insert into hold_lot
        select member, hold.hold_no, lot_seq, least(free, amount - (upto - free)) from usable where upto - free < amount
        returning lot_seq, points
    )
    update lot l set held = l.held + p.points from pinned p where l.member_id = member and l.lot_seq = p.lot_seq;
    update wallet set held = held + amount where member_id = member;
    return amount;
end $$;

-- Lets a hold go and records how it ended; the caller has locked the wallet. Refuses a hold that has ended.
create function end_hold(member bigint, no text, how text, used bigint, day date) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare h hold;
begin
    select * into h from hold where member_id = member and hold_no = no;
    if not found then raise exception 'hold % is not known', no using errcode = 'PL005'; end if;
    if used > h.points then
        raise exception 'hold % is for % points, not %', no, h.points, used using errcode = 'PL006';
    end if;
    insert into hold_end (member_id, hold_no, outcome, points, ended_on) values (member, no, how, used, day);
    update lot l set held = l.held - p.points from hold_lot p
    where p.member_id = member and p.hold_no = no and l.member_id = member and l.lot_seq = p.lot_seq;
    update wallet set held = held - h.points where member_id = member;
exception when unique_violation then
    raise exception 'hold % has already ended', no using errcode = 'PL007';
end $$;

-- capture: the order became final; the held lots are spent, also when they have lapsed since. The rest is let go.
create function capture(member_no text, hold_no text, amount bigint, day date) returns posting
language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    member constant bigint := member_by_no(member_no);
    request constant bytea := request_hash('capture', amount::text, day::text);
    journal constant uuid := journal_of(member, 'capture', hold_no);
    w wallet;
    book date;
begin
    perform refuse_nonsense(day, 'capture', hold_no);
    if amount is null or amount <= 0 then
        raise exception 'points must be a positive whole number' using errcode = 'PL009';
    end if;
    select * into w from wallet where member_id = member for no key update;
    if already_posted(member, 'capture', hold_no, request) then return posting_of(member, 'capture', hold_no); end if;
    if w.is_blocked then perform refuse_blocked(member_no); end if;
    book := book_date_for(day, w.last_book);
    perform open_day(book);
    perform end_hold(member, hold_no, 'captured', amount, day);
    with pinned as (
        select l.lot_seq, l.remaining, p.points, sum(p.points) over spending_order as upto, row_number() over spending_order as n
        from hold_lot p join lot l using (member_id, lot_seq)
        where p.member_id = member and p.hold_no = capture.hold_no
        window spending_order as (order by l.valid_through nulls last, l.lot_seq)
    ), taken as (
        select lot_seq, remaining, n, least(points, amount - (upto - points))::bigint as take from pinned where upto - points < amount
    )
    insert into entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after, balance_after,
        debt_after, kind, source, source_ref)
    select member, w.seq + n, book, day, journal, take, lot_seq, remaining - take, w.balance - sum(take) over (order by n), w.debt,
        'spend', 'capture', capture.hold_no
    from taken;
    perform remember_posting(member, 'capture', hold_no, request, journal, book, w.seq);
    return posting_of(member, 'capture', hold_no);
end $$;

create function release(member_no text, hold_no text, day date) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare member constant bigint := member_by_no(member_no);
begin
    perform refuse_nonsense(day, 'release', hold_no);
    perform from wallet where member_id = member for no key update;
    perform end_hold(member, hold_no, 'released', 0, day);
end $$;

-- The night lets go the holds whose last day has passed. Returns how many.
create function release_lapsed_holds(day date) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare h record; released bigint := 0;
begin
    for h in
        select member_id, hold_no from hold where valid_through <= day
            and not exists (select from hold_end e where e.member_id = hold.member_id and e.hold_no = hold.hold_no)
        order by member_id, hold_no
    loop
        perform from wallet where member_id = h.member_id for no key update;
        perform from hold_end e where e.member_id = h.member_id and e.hold_no = h.hold_no;
        if not found then
            perform end_hold(h.member_id, h.hold_no, 'lapsed', 0, day);
            released := released + 1;
        end if;
    end loop;
    return released;
end $$;

-- Four eyes: adjust -------------------------------------------------------------------------------------------------
-- propose by one login (0002_adjustments), approve by another, post once. What is posted is what was approved, to the letter.
create function approve(id bigint) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    update approval set approved_by = session_user, approved_at = clock_timestamp() where approval_id = id and approved_by is null;
    if not found then
        raise exception 'approval % is not waiting for a decision', id using errcode = 'PL007';
    end if;
end $$;

create function approved(id bigint, kind text) returns jsonb language plpgsql stable
set search_path = pg_catalog, points, pg_temp as $$
declare a approval;
begin
    select * into a from approval where approval_id = id and what = kind;
    if not found then raise exception '% % is not known', kind, id using errcode = 'PL005'; end if;
    if a.approved_by is null then
        raise exception '% % waits for the approval of a login other than %', kind, id, a.proposed_by using errcode = 'PL012';
    end if;
    return a.payload;
end $$;

-- payload: {"member_no": text, "points": signed whole number, "valid_through": date or null, "idle_by": a version, if any}
create function adjust(approval bigint, day date) returns posting language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    asked constant jsonb := approved(approval, 'adjustment');
    why constant text := (select a.reason from approval a where a.approval_id = approval);
    member constant bigint := member_by_no(asked ->> 'member_no');
    amount constant bigint := (asked ->> 'points')::bigint;
    request constant bytea := request_hash('adjust', asked::text);
    journal constant uuid := journal_of(member, 'adjustment', approval::text);
    w wallet;
    book date;
begin
    select * into w from wallet where member_id = member for no key update;
    if already_posted(member, 'adjustment', approval::text, request) then
        return posting_of(member, 'adjustment', approval::text);
    end if;
    book := book_date_for(day, w.last_book);
    perform open_day(book);
    insert into one_use values ('approval', member, approval);
    if amount > 0 then
        perform open_lot(member, amount, 'adjust_up', day, book, journal, 'adjustment', approval::text, null, day,
            (asked ->> 'valid_through')::date, null, approval, why, (asked ->> 'idle_by')::int);
    elsif amount < 0 then
        if take_points(member, -amount, true, 'adjust_down', day, book, journal, 'adjustment', approval::text, null, null,
            why, approval) = 0 then
            raise exception 'member % has fewer than % points available on %', asked ->> 'member_no', -amount, day
                using errcode = 'PL006';
        end if;
    else
        raise exception 'an adjustment of no points' using errcode = 'PL009';
    end if;
    perform remember_posting(member, 'adjustment', approval::text, request, journal, book, w.seq);
    perform tell_adjustment(member, approval, amount, day, book);
    return posting_of(member, 'adjustment', approval::text);
end $$;
