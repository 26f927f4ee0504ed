-- Transfers (loyalty.md: off by default, capped, to people the giver has named): bindings, and the verb with its rules.

create view transfer_policy as
select
    version,
    coalesce((document #>> '{transfer,enabled}')::boolean, false) as enabled,
    (document #>> '{transfer,max_per_day}')::bigint as max_per_day,
    (document #>> '{transfer,max_per_month}')::bigint as max_per_month,
    coalesce((document #>> '{transfer,cooling_off_days}')::int, 7) as cooling_off_days
from policy_version;

create table binding (
    binding_id bigint generated always as identity primary key,
    giver bigint not null references wallet,
    taker bigint not null references wallet,
    bound_on date not null,
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint two_members check (giver <> taker)
);
create index binding_of on binding (giver, taker);
comment on table binding is 'Whom a member may give points to, and since when. One direction; ended by a row of binding_end.';
create table binding_end (
    binding_id bigint primary key references binding,
    ended_on date not null,
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp()
);
select make_append_only(array['binding', 'binding_end']);

create function live_binding(giver bigint, taker bigint) returns binding language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select b from binding b
    where b.giver = live_binding.giver and b.taker = live_binding.taker
        and not exists (select from binding_end e where e.binding_id = b.binding_id)
$$;

-- Names a member whom the giver may give points to. Again: the day of the first time. Answers the first day for a gift.
create function bind_members(from_member_no text, to_member_no text, day date) returns date language plpgsql
security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    giving constant bigint := member_by_no(from_member_no);
    taking constant bigint := member_by_no(to_member_no);
    bound binding;
begin
    if giving = taking then
        raise exception 'a member cannot be bound to themselves' using errcode = 'PL009';
    end if;
    if day is null then raise exception 'a binding needs its day' using errcode = 'PL009'; end if;
    perform from wallet where member_id = giving for no key update;
    bound := live_binding(giving, taking);
    if bound.binding_id is null then
        -- a day in the past would shorten the cooling-off: a closed day counts as the open one
        insert into binding (giver, taker, bound_on) values (giving, taking, greatest(day, last_closed() + 1)) returning * into bound;
    end if;
    return bound.bound_on + (select p.cooling_off_days from transfer_policy p where p.version = version_on(day));
end $$;

-- Ends a binding. Bound again, the cooling-off begins again.
create function unbind(from_member_no text, to_member_no text, day date) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    giving constant bigint := member_by_no(from_member_no);
    taking constant bigint := member_by_no(to_member_no);
    bound binding;
begin
    if day is null then raise exception 'the end of a binding needs its day' using errcode = 'PL009'; end if;
    perform from wallet where member_id = giving for no key update;
    bound := live_binding(giving, taking);
    if bound.binding_id is null then
        raise exception 'member % is not bound to member %', from_member_no, to_member_no using errcode = 'PL031';
    end if;
    insert into binding_end (binding_id, ended_on) values (bound.binding_id, day);
end $$;

-- Why a member may not give so many points on a day, as an exception of its own; the caller has locked both wallets.
create function refuse_transfer(giving bigint, taking bigint, amount bigint, day date) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    rule constant transfer_policy := (select p from transfer_policy p where p.version = version_on(day));
    bound constant binding := live_binding(giving, taking);
    month constant date := date_trunc('month', day)::date;
    that_day bigint;
    that_month bigint;
begin
    if day is null then raise exception 'a transfer needs its day' using errcode = 'PL009'; end if;
    if rule.enabled is not true then
        raise exception 'transfers are not enabled in this programme' using errcode = 'PL030',
            hint = 'See [transfer] in the programme file.';
    end if;
    if bound.binding_id is null then
        raise exception 'the giver is not bound to that member' using errcode = 'PL031', hint = 'Call bind_members first.';
    end if;
    if day < bound.bound_on + rule.cooling_off_days then
        raise exception 'bound on %: the first gift can be made on %', bound.bound_on, bound.bound_on + rule.cooling_off_days
            using errcode = 'PL032';
    end if;
    -- booked on its day or later, so older months are not read
    select coalesce(sum(e.points) filter (where e.effective_on = day), 0), coalesce(sum(e.points), 0) into that_day, that_month
    from entry e
    where e.member_id = giving and e.kind = 'transfer_out' and e.book_date >= month
        and e.effective_on >= month and e.effective_on < month + interval '1 month';
    if that_day + amount > rule.max_per_day then
        raise exception '% points and % given that day before are more than % a day', amount, that_day, rule.max_per_day
            using errcode = 'PL033';
    end if;
    if that_month + amount > rule.max_per_month then
        raise exception '% points and % given that month before are more than % a month', amount, that_month, rule.max_per_month
            using errcode = 'PL033';
    end if;
end $$;

-- transfer: points to a bound member; each lot keeps its validity; both sides in one journal.
create function transfer(
    from_member_no text, to_member_no text, amount bigint, day date, source_ref text, reason text default null
) returns posting language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    giver constant bigint := member_by_no(from_member_no);
    taker constant bigint := member_by_no(to_member_no);
    request constant bytea := request_hash('transfer', to_member_no, amount::text, day::text);
    journal constant uuid := journal_of(giver, 'transfer', source_ref);
    g wallet;
    t wallet;
    book date;
    piece record;
    received constant text := from_member_no || '/' || source_ref;
begin
    if amount is null or amount <= 0 then
        raise exception 'points must be a positive whole number' using errcode = 'PL009';
    end if;
    if giver = taker then
        raise exception 'a member cannot transfer points to themselves' using errcode = 'PL009';
    end if;
    -- both wallets, lower member_id first: two opposite transfers cannot wait for each other
    perform from wallet where member_id in (giver, taker) order by member_id for no key update;
    select * into strict g from wallet where member_id = giver;
    select * into strict t from wallet where member_id = taker;
    if already_posted(giver, 'transfer', source_ref, request) then return posting_of(giver, 'transfer', source_ref); end if;
    if g.is_blocked then perform refuse_blocked(from_member_no); end if;
    perform refuse_transfer(giver, taker, amount, day);
    book := book_date_for(day, greatest(g.last_book, t.last_book));
    perform open_day(book);
    if take_points(giver, amount, true, 'transfer_out', day, book, journal, 'transfer', source_ref, null, null, reason, null) = 0 then
        raise exception 'member % has fewer than % points available on %', from_member_no, amount, day using errcode = 'PL006';
    end if;
    for piece in
        select e.points, l.usable_from, l.valid_through, l.idle_by from entry e join lot l using (member_id, lot_seq)
        where e.member_id = giver and e.book_date = book and e.seq > g.seq order by e.seq
    loop
        perform open_lot(taker, piece.points, 'transfer_in', day, book, journal, 'transfer', received, null,
            piece.usable_from, piece.valid_through, null, null, reason, piece.idle_by);
    end loop;
    perform remember_posting(giver, 'transfer', source_ref, request, journal, book, g.seq);
    perform remember_posting(taker, 'transfer', received, request, journal, book, t.seq);
    return posting_of(giver, 'transfer', source_ref);
end $$;

revoke execute on function live_binding(bigint, bigint), bind_members(text, text, date), unbind(text, text, date),
    refuse_transfer(bigint, bigint, bigint, date), transfer(text, text, bigint, date, text, text) from public;
grant select on transfer_policy, binding, binding_end to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function bind_members(text, text, date), unbind(text, text, date), transfer(text, text, bigint, date, text, text)
    to loyalty_api, loyalty_batch;
