-- Undoing a run (design 2.7): every entry of the run is answered by entries that point at it. The undo is a run of its
-- own, proposed by one login and approved by another; what it may do is read from the approval, never from its caller.
--
--   entry of the run           answered by
--   earn                       claw_back of what is left of its points; the rest owed, or waived
--   spend                      spend_reversal into the lot it came from (lapsed: a new lot)
--   expire                     reinstate, a new lot
--   claw_back, adjust_down     adjust_up into the lot it came from (lapsed: a new lot)
--   owe                        adjust_up, a new lot, that repays the debt there still is
--   repay                      owe: the debt is there again; the earning it came from gives up that much less
--   spend_reversal             spend of what is left; the rest owed, or waived
--   reinstate, adjust_up       adjust_down of what is left; the rest owed, or waived   (the run was an undo itself)
--   transfer_out, transfer_in  nothing: a gift concerns two members
--
-- A member's entries are answered from the last to the first, so that points spent and points earned in one run meet. A
-- new lot is valid `reinstate_days` from the undo's day, or as long as the old one if that is longer.

alter table run add column undoes bigint references run, add column approval_id bigint references approval,
    add constraint an_undo_needs_its_approval check ((job = 'undo-run') = (undoes is not null) and (undoes is null) = (approval_id is null));
comment on column run.undoes is 'The run that this one undid; a run is undone once.';
create unique index undone_once on run (undoes);
-- several undos of one business date are several runs; runs.claim names this predicate
drop index run_once;
create unique index run_once on run (job, business_date) where undoes is null;

-- An entry called 'undo' has an approval, which also keeps tills from taking that name; in return it may be of any kind
-- and name what it answers (apply_entries).

alter table redemption drop constraint redemption_state_check;
alter table redemption add constraint redemption_state_check check (state in ('waiting', 'posted', 'refused', 'undone'));

create table undone (
    member_id bigint not null,
    seq bigint not null,
    undo_run bigint not null,
    outcome text not null check (outcome in ('reversed', 'already_reversed', 'cancels_out', 'left_alone')),
    waived bigint not null default 0 check (waived >= 0),
    last_seq bigint not null,
    primary key (member_id, seq)
);
create index undone_by on undone (undo_run);
comment on table undone is 'What became of each entry of a run that was undone: once, by primary key. last_seq: the wallet''s, then.';
select make_append_only(array['undone']);

create type undo_terms as (
    target bigint, undo_run bigint, approval bigint, spent text, day date, book date, valid_days int, journal uuid, why text
);
create type undo_figure as (part text, kind text, outcome text, entries bigint, points bigint);

-- The helpers are called by undo_members and preview_undo only, which pin the search path; they qualify all the same.
-- They look up a few rows of one member each time, by key: the callers switch other plans off, as in 0001_events.sql.

-- One entry that continues the member's wallet, and the lot if one is named.
create function undo_post(t undo_terms, member bigint, lot bigint, amount bigint, entry_kind text, reversed bigint) returns void
language plpgsql as $$
begin
    insert into points.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, reversal_of, approval_id, run_id, kind, source, source_ref, reason)
    select member, w.seq + 1, t.book, t.day, t.journal, amount, l.lot_seq, l.remaining + k.sign * amount,
        w.balance + k.sign * amount, w.debt + k.debt_sign * amount, reversed, t.approval, t.undo_run, entry_kind, 'undo',
        t.target::text, t.why
    from points.wallet w
    inner join points.entry_kind k on k.kind = entry_kind
    left join points.lot l on l.member_id = w.member_id and l.lot_seq = lot
    where w.member_id = member;
end $$;

create function undo_open(t undo_terms, e points.entry, entry_kind text, old_last_day date) returns bigint language plpgsql as $$
begin
    return points.open_lot(e.member_id, e.points, entry_kind, t.day, t.book, t.journal, 'undo', t.target::text, t.undo_run,
        t.day, greatest(old_last_day, t.book + t.valid_days), e.seq, t.approval, t.why);
end $$;

-- Points that an entry took go back into the lot it took them from, or into a new one when that lot has lapsed.
create function undo_give_back(t undo_terms, e points.entry, entry_kind text) returns void language plpgsql as $$
declare last_day date;
begin
    select l.valid_through into last_day from points.lot l where l.member_id = e.member_id and l.lot_seq = e.lot_seq;
    if last_day < greatest(t.day, t.book) then
        perform points.undo_open(t, e, entry_kind, last_day);
    else
        perform points.undo_post(t, e.member_id, e.lot_seq, e.points, entry_kind, e.seq);
    end if;
end $$;

-- A lot and the lots into which its points came back after they had left it.
create function lot_family(member bigint, lot bigint) returns table (lot_seq bigint) language sql stable as $$
    with recursive family (lot_seq) as (
        select lot
        union
        select back.seq from family f
        inner join points.entry left_it on left_it.member_id = member and left_it.lot_seq = f.lot_seq
        inner join points.entry back on back.member_id = member and back.reversal_of = left_it.seq and back.lot_seq = back.seq
    )
    select f.lot_seq from family f
$$;

-- Takes what an entry gave: from its lot, then from where its points came back. Not what lapsed, not what a return of the
-- order took before, not what repaid a debt that is there again. What is left to take is spent: owed, or waived.
-- Returns what was waived. Points held for an order that is not final count as spent.
create function undo_take_back(t undo_terms, e points.entry, entry_kind text) returns bigint language plpgsql as $$
declare
    due bigint := e.points;
    l record;
    take bigint;
    gone bigint;
begin
    select coalesce(sum(x.expired), 0) - coalesce(sum(o.points) filter (where o.kind = 'reinstate' and f.lot_seq <> e.lot_seq), 0)
    into gone
    from points.lot_family(e.member_id, e.lot_seq) f
    inner join points.lot x on x.member_id = e.member_id and x.lot_seq = f.lot_seq
    inner join points.entry o on o.member_id = e.member_id and o.seq = f.lot_seq;
    due := due - gone;
    if e.seq = e.lot_seq then
        due := due - (select coalesce(sum(r.points), 0) from points.entry r
            where r.member_id = e.member_id and r.lot_seq = e.seq and r.kind = 'repay'
                and exists (select from points.one_use u where u.what = 'reversal' and u.member_id = r.member_id and u.ref = r.seq));
    end if;
    if e.source = 'order' then
        due := due - (select coalesce(sum(r.points), 0) from points.returned_line r
            where r.member_id = e.member_id and r.order_no = e.source_ref and not exists (
                select from points.posting_key k
                inner join points.one_use u on u.what = 'reversal' and u.member_id = k.member_id and u.ref = k.first_seq
                where k.member_id = r.member_id and k.source = 'return' and k.source_ref = r.return_order_no || '/' || r.return_line_no));
    end if;
    for l in
        select x.lot_seq, x.remaining - x.held as free,
            x.usable_from <= t.day and (x.valid_through is null or t.day <= x.valid_through) as is_usable
        from points.lot_family(e.member_id, e.lot_seq) f
        inner join points.lot x on x.member_id = e.member_id and x.lot_seq = f.lot_seq
        where x.remaining > x.held
        order by x.lot_seq
    loop
        exit when due <= 0;
        take := least(due, l.free);
        perform points.undo_post(t, e.member_id, l.lot_seq, take,
            case when entry_kind = 'spend' and not l.is_usable then 'claw_back' else entry_kind end, e.seq);
        due := due - take;
    end loop;
    if due <= 0 then return 0; end if;
    if t.spent = 'waive' then return due; end if;
    perform points.undo_post(t, e.member_id, null, due, 'owe', e.seq);
    return 0;
end $$;

-- A debt is forgiven by points that repay it; what later earnings repaid already stays as points.
create function undo_owe(t undo_terms, e points.entry) returns void language plpgsql as $$
declare
    lot constant bigint := points.undo_open(t, e, 'adjust_up', null);
    debt constant bigint := (select w.debt from points.wallet w where w.member_id = e.member_id);
begin
    if debt > 0 then
        perform points.undo_post(t, e.member_id, lot, least(debt, e.points), 'repay', null);
    end if;
end $$;

-- Whether what an entry took was counted when the earning it took from was undone before: an expiry of that lot, or a
-- return of that order. Giving it back would be a gift.
create function undo_was_counted(e points.entry) returns boolean language sql stable as $$
    select exists (
        select from points.undone u
        where u.member_id = e.member_id and u.outcome = 'reversed' and e.seq <= u.last_seq
            and (e.kind = 'expire' and u.seq = e.lot_seq or e.kind in ('claw_back', 'owe') and e.source = 'return' and u.seq in (
                select g.lot_seq from points.returned_line r
                inner join points.order_earning g on g.member_id = r.member_id and g.order_no = r.order_no
                where r.member_id = e.member_id and r.points > 0
                    and e.source_ref = r.return_order_no || '/' || r.return_line_no)))
$$;

-- Answers one entry; returns what became of it and what was waived. An entry that was reversed before is in force again
-- only where its reversal was undone in its turn: then that answer is answered.
create function undo_entry(t undo_terms, e points.entry, out outcome text, out waived bigint) language plpgsql as $$
declare
    answer points.entry;
    inner_outcome text;
    inner_waived bigint;
begin
    outcome := 'reversed';
    waived := 0;
    if e.kind in ('transfer_out', 'transfer_in') then outcome := 'left_alone'; return; end if;
    if points.undo_was_counted(e) or (e.kind = 'spend_reversal' and e.source <> 'undo' and exists (
        select from points.entry s left join points.undone u on u.member_id = s.member_id and u.seq = s.seq
        where s.member_id = e.member_id and s.seq = e.reversal_of and (s.run_id = t.target or u.outcome = 'already_reversed'))) then
        outcome := 'cancels_out';
        return;
    end if;
    insert into points.one_use values ('reversal', e.member_id, e.seq) on conflict do nothing;
    if not found then
        outcome := 'already_reversed';
        for answer in
            select again.* from points.entry known
            inner join points.entry again on again.member_id = known.member_id and again.reversal_of = known.seq
            where known.member_id = e.member_id and known.reversal_of = e.seq
            order by again.seq desc
        loop
            select x.outcome, x.waived into inner_outcome, inner_waived from points.undo_entry(t, answer) x;
            if inner_outcome = 'reversed' then outcome := 'reversed'; end if;
            waived := waived + inner_waived;
        end loop;
        return;
    end if;
    case e.kind
        when 'spend' then
            perform points.undo_give_back(t, e, 'spend_reversal');
            -- a word of its cancellation, later, is then a finding and does not stop the night
            if e.source = 'redemption' then
                update points.redemption r set state = 'undone' where r.redemption_no = e.source_ref and r.state = 'posted';
            end if;
        when 'expire' then perform points.undo_open(t, e, 'reinstate', null);
        when 'claw_back', 'adjust_down' then perform points.undo_give_back(t, e, 'adjust_up');
        when 'owe' then perform points.undo_owe(t, e);
        when 'repay' then perform points.undo_post(t, e.member_id, null, e.points, 'owe', e.seq);
        when 'earn' then waived := points.undo_take_back(t, e, 'claw_back');
        when 'spend_reversal' then waived := points.undo_take_back(t, e, 'spend');
        when 'reinstate', 'adjust_up' then waived := points.undo_take_back(t, e, 'adjust_down');
    end case;
end $$;

-- Answers what is left of the run at one member, whose wallet the caller has locked.
create function undo_wallet(terms undo_terms, from_book date, member bigint) returns void language plpgsql as $$
declare
    t points.undo_terms := terms;
    w points.wallet;
    e points.entry;
    outcome text;
    waived bigint;
begin
    select * into strict w from points.wallet where member_id = member;
    t.book := points.book_date_for(t.day, w.last_book);
    t.journal := points.journal_of(member, 'undo', t.target::text);
    perform points.open_day(t.book);
    for e in
        select x.* from points.entry x
        where x.member_id = member and x.run_id = t.target and x.book_date >= from_book
            and not exists (select from points.undone u where u.member_id = x.member_id and u.seq = x.seq)
        order by x.seq desc
    loop
        select x.outcome, x.waived into outcome, waived from points.undo_entry(t, e) x;
        insert into points.undone (member_id, seq, undo_run, outcome, waived, last_seq)
        values (member, e.seq, t.undo_run, outcome, waived, w.seq);
    end loop;
    if w.seq < (select v.seq from points.wallet v where v.member_id = member) then
        perform points.remember_posting(member, 'undo', t.target::text,
            points.request_hash('undo', t.target::text, t.approval::text), t.journal, t.book, w.seq);
    end if;
end $$;

-- Whether an entry was answered, and its answer not answered in its turn. Points that were waived leave no answer.
create function is_reversed(member bigint, entry_seq bigint) returns boolean language plpgsql stable as $$
begin
    if not exists (select from points.one_use u where u.what = 'reversal' and u.member_id = member and u.ref = entry_seq) then
        return false;
    end if;
    return not exists (select from points.entry a where a.member_id = member and a.reversal_of = entry_seq)
        or exists (select from points.entry a where a.member_id = member and a.reversal_of = entry_seq
            and not points.is_reversed(member, a.seq));
end $$;

-- claw_back: points an order's returns take back (design 7). From the order's own lot first, then by policy: only_pending
-- takes it while it is pending and nothing else, within_balance takes the other usable lots in spending order, debt lets
-- the member owe the rest. A return of an order whose earning was undone finds nothing to take. Returns the points taken
-- or owed. The caller holds the wallet's lock.
create function claw_back(
    member bigint, wanted bigint, own_lot bigint, refund_policy text, booked_from date, day date, source text, source_ref text,
    run_id bigint, policy int
) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    journal constant uuid := journal_of(member, source, source_ref);
    w wallet;
    book date;
    own bigint;
    others bigint := 0;
begin
    if is_reversed(member, own_lot) then return 0; end if;
    select * into strict w from wallet where wallet.member_id = member;
    book := book_date_for(booked_from, w.last_book);
    perform open_day(book);
    insert into entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, run_id, policy_version, kind, source, source_ref)
    select member, w.seq + 1, book, day, journal, least(wanted, l.remaining - l.held), l.lot_seq,
        l.remaining - least(wanted, l.remaining - l.held), w.balance - least(wanted, l.remaining - l.held), w.debt,
        claw_back.run_id, policy, 'claw_back', claw_back.source, claw_back.source_ref
    from lot l
    where l.member_id = member and l.lot_seq = own_lot and l.remaining > l.held
        and (refund_policy <> 'only_pending' or l.usable_from > day)
    returning points into own;
    own := coalesce(own, 0);
    if own < wanted and refund_policy <> 'only_pending' then
        others := take_points(member, wanted - own, false, 'claw_back', day, book, journal, source, source_ref, run_id,
            policy, null, null);
    end if;
    if own + others < wanted and refund_policy = 'debt' then
        insert into entry (member_id, seq, book_date, effective_on, journal_id, points, balance_after, debt_after, run_id,
            policy_version, kind, source, source_ref)
        select member, v.seq + 1, book, day, journal, wanted - own - others, v.balance, v.debt + wanted - own - others,
            claw_back.run_id, policy, 'owe', claw_back.source, claw_back.source_ref
        from wallet v where v.member_id = member;
        return wanted;
    end if;
    return own + others;
end $$;

-- What an undo did at some members (null: at all): by kind of what was undone, and by kind of the entries it posted.
create function undo_figures(undo bigint, members bigint []) returns setof undo_figure language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    with answered as (
        select u.member_id, u.outcome, u.waived, e.kind, e.points
        from undone u inner join entry e on e.member_id = u.member_id and e.seq = u.seq
        where u.undo_run = undo and (members is null or u.member_id = any(members))
    )
    select 'undone', kind, outcome, count(*), sum(points)::bigint from answered group by kind, outcome
    union all
    select 'waived', kind, null, count(*), sum(waived)::bigint from answered where waived > 0 group by kind
    union all
    select 'posted', e.kind, null, count(*), sum(e.points)::bigint
    from (select distinct member_id from answered) m
    inner join posting_key k on k.member_id = m.member_id and k.source = 'undo'
    inner join entry e on e.member_id = k.member_id and e.book_date = k.book_date and e.seq between k.first_seq and k.last_seq
    where e.run_id = undo
    group by e.kind
    union all
    select 'members', null, null, count(distinct member_id), 0 from answered
$$;

-- The run, if it can be undone.
create function undoable(target bigint, spent text) returns run language plpgsql stable
set search_path = pg_catalog, points, pg_temp as $$
declare r run;
begin
    select * into r from run where run_id = target;
    if not found then raise exception 'run % is not known', target using errcode = 'PL005'; end if;
    if r.status <> 'done' then
        raise exception 'run % is not finished: finish it before undoing it', target using errcode = 'PL009';
    end if;
    if spent is null or spent not in ('debt', 'waive') then
        raise exception 'points that are spent are owed ("debt") or waived ("waive"), not "%"', spent using errcode = 'PL009';
    end if;
    return r;
end $$;

-- What undoing a run would do at some members: it is done, counted, and taken back before anybody can see it.
create function preview_undo(target bigint, members bigint [], spent text, day date) returns setof undo_figure
language plpgsql security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
    r constant run := undoable(target, spent);
    on_day constant date := greatest(day, open_business_date());
    figures undo_figure [];
    member bigint;
begin
    begin
        foreach member in array coalesce(lock_wallets(members, true), '{}') loop
            perform undo_wallet(row(target, 0, 0, spent, on_day, null, (
                select p.reinstate_days from approval_policy p where p.version = version_on(on_day)), null, null)::undo_terms,
                r.business_date, member);
        end loop;
        figures := array(select f from undo_figures(0, members) f);
        raise exception 'a plan changes nothing' using errcode = 'PL099';
    exception when sqlstate 'PL099' then null;
    end;
    return query select * from unnest(figures);
end $$;

create function propose_undo(target bigint, spent text, plan jsonb, reason text) returns bigint language plpgsql
security definer
set search_path = pg_catalog, points, pg_temp as $$
declare by_run bigint := (select u.run_id from run u where u.undoes = target);
begin
    perform undoable(target, spent);
    if by_run is not null then
        raise exception 'run % is undone already, by run %', target, by_run using errcode = 'PL007';
    end if;
    return propose_once('undo', jsonb_build_object('run_id', target, 'spent', spent, 'plan', plan),
        jsonb_build_object('run_id', target, 'spent', spent), reason);
end $$;

-- Starts an approved undo, or takes it up again; its business date and terms are those of the first start.
create function begin_undo(approval bigint, day date, code_version text) returns run language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    asked constant jsonb := approved(approval, 'undo');
    target constant bigint := (asked ->> 'run_id')::bigint;
    begun run;
begin
    perform undoable(target, asked ->> 'spent');
    insert into run (job, business_date, undoes, approval_id, plan, code_version)
    values ('undo-run', greatest(day, open_business_date()), target, approval, asked -> 'plan', begin_undo.code_version)
    on conflict (undoes) do update set status = 'running', message = null, finished_at = null where run.status <> 'done';
    select * into strict begun from run where undoes = target;
    if begun.approval_id <> approval then
        raise exception 'run % is undone already, by run %', target, begun.run_id using errcode = 'PL007';
    end if;
    return begun;
end $$;

-- Undoes the run at some members, one transaction; wallets are locked in member_id order, busy ones passed over unless
-- `wait`. Returns how many members it locked. What it may do stands in the approval that the run names.
create function undo_members(undo bigint, members bigint [], wait boolean) returns int language plpgsql security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
    u run;
    target run;
    asked jsonb;
    locked bigint [];
    member bigint;
begin
    select * into u from run where run_id = undo and undoes is not null;
    if not found then raise exception 'run % undoes nothing', undo using errcode = 'PL005'; end if;
    asked := approved(u.approval_id, 'undo');
    if (asked ->> 'run_id')::bigint <> u.undoes then
        raise exception 'approval % is not about run %', u.approval_id, u.undoes using errcode = 'PL005';
    end if;
    target := undoable(u.undoes, asked ->> 'spent');
    locked := coalesce(lock_wallets(members, wait), '{}');
    foreach member in array locked loop
        perform undo_wallet(row(u.undoes, u.run_id, u.approval_id, asked ->> 'spent', u.business_date, null, (
            select p.reinstate_days from approval_policy p where p.version = version_on(u.business_date)), null, (
            select a.reason from approval a where a.approval_id = u.approval_id))::undo_terms, target.business_date, member);
    end loop;
    return cardinality(locked);
end $$;

-- Members at whom something of the run is not answered yet.
create function undo_left(target bigint) returns setof bigint language sql stable security definer
set search_path = pg_catalog, points, pg_temp as $$
    select distinct e.member_id from entry e
    where e.run_id = target and e.book_date >= (select r.business_date from run r where r.run_id = target)
        and not exists (select from undone u where u.member_id = e.member_id and u.seq = e.seq)
    order by e.member_id
$$;

-- Finishes an undo of which nothing is left, with the totals given (counted from the ledger by undo_figures).
create function finish_undo(undo bigint, totals jsonb) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare unanswered constant bigint := (select count(*) from undo_left((select r.undoes from run r where r.run_id = undo)));
begin
    if unanswered > 0 then
        raise exception '% members of run % are not undone yet: run it again', unanswered, undo using errcode = 'PL009';
    end if;
    update run set status = 'done', totals = finish_undo.totals, message = null, finished_at = clock_timestamp()
    where run_id = undo and undoes is not null and status <> 'done';
end $$;

create function stop_undo(undo bigint, why text) returns void language sql security definer
set search_path = pg_catalog, points, pg_temp as $$
    update run set status = 'failed', message = why, finished_at = clock_timestamp()
    where run_id = undo and undoes is not null and status <> 'done'
$$;

revoke execute on function undo_post(undo_terms, bigint, bigint, bigint, text, bigint), undo_open(undo_terms, entry, text, date),
    undo_give_back(undo_terms, entry, text), lot_family(bigint, bigint), undo_take_back(undo_terms, entry, text),
    undo_owe(undo_terms, entry), undo_was_counted(entry), undo_entry(undo_terms, entry), undo_wallet(undo_terms, date, bigint),
    is_reversed(bigint, bigint), undo_figures(bigint, bigint []), undoable(bigint, text), preview_undo(bigint, bigint [], text, date),
    propose_undo(bigint, text, jsonb, text), begin_undo(bigint, date, text), undo_members(bigint, bigint [], boolean),
    undo_left(bigint), finish_undo(bigint, jsonb), stop_undo(bigint, text),
    claw_back(bigint, bigint, bigint, text, date, date, text, text, bigint, int) from public;
grant select on undone to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function preview_undo(bigint, bigint [], text, date), propose_undo(bigint, text, jsonb, text),
    begin_undo(bigint, date, text), undo_members(bigint, bigint [], boolean), undo_figures(bigint, bigint []),
    undo_left(bigint), finish_undo(bigint, jsonb), stop_undo(bigint, text)
    to loyalty_batch, loyalty_approver;
