-- Versions of the programme (design 6, 2.10): proposals, their approval, and the one way into policy_version.
--
-- A proposal waits in a table of its own. It becomes a version when it needs no approval, or when another login has
-- approved it; until then nothing reads it. Whatever inserts a version, the guard below looks at its effective date.

alter table approval drop constraint approval_what_check;
alter table approval add constraint approval_what_check
check (what in ('adjustment', 'reinstatement', 'plan', 'policy', 'undo', 'transfer', 'tier', 'repair', 'release'));

create table policy_proposal (
    proposal_id bigint generated always as identity primary key,
    approval_id bigint unique references approval,
    base_version int not null references policy_version,
    effective_from date not null,
    document jsonb not null,
    sha256 text not null,
    changes jsonb not null check (jsonb_typeof(changes) = 'array'),
    reason text not null,
    proposed_by text not null default session_user,
    proposed_at timestamptz not null default clock_timestamp(),
    unique (base_version, effective_from, sha256)
);
comment on table policy_proposal is
    'A programme that was proposed, with its differences to the version it replaces. approval_id null: it needed none.';
select make_append_only(array['policy_proposal']);

alter table policy_version add column proposal_id bigint unique references policy_proposal;

-- The fingerprint of a document; jsonb has one spelling for one meaning.
create function document_sha256(document jsonb) returns text language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select encode(sha256(convert_to(document::text, 'UTF8')), 'hex')
$$;

-- The business date that takes entries now: the day after the last closed one.
create function open_business_date() returns date language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select coalesce(last_closed() + 1, (select min(effective_from) from policy_version))
$$;

-- An effective date must leave alone what has been judged: closed days, posted orders, versions that start later.
-- The locks keep an order from being posted, and the day from being closed, between this look and the commit.
create function refuse_effective_date(day date) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    newest policy_version;
    judged date;
begin
    select * into newest from policy_version order by version desc limit 1;
    if day < newest.effective_from then
        raise exception 'Version % starts on % already: choose that day or a later one', newest.version, newest.effective_from
            using errcode = 'PL020';
    end if;
    lock table order_earning in share mode;
    perform pg_advisory_xact_lock_shared(20261, day - date '2000-01-01');  -- the closing fence
    if day <= last_closed() then
        raise exception '% is closed: choose % or a later day', day, last_closed() + 1 using errcode = 'PL020';
    end if;
    if day <= open_business_date() then  -- nothing later is judged before the day is open
        select max(o.effective_on) into judged from shop_order o inner join order_earning e using (member_id, order_no)
        where o.effective_on >= day;
        if judged is not null then
            raise exception 'Orders of % have earned by the version in force: choose % or a later day', judged, judged + 1
                using errcode = 'PL020';
        end if;
    end if;
end $$;

-- What takes something away starts at least the notice period of the programme in force after the open business date.
create function refuse_short_notice(day date, base int) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    notice constant int := coalesce((select (v.document #>> '{programme,notice_days}')::int from policy_version v
        where v.version = base), 30);
    earliest constant date := open_business_date() + notice;
begin
    if day < earliest then
        raise exception 'It takes something away, which members are told % days ahead: choose % or a later day', notice, earliest
            using errcode = 'PL020';
    end if;
end $$;

create function guard_policy_version() returns trigger language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    if new.version is distinct from coalesce((select max(version) from policy_version), 0) + 1 then
        raise exception 'Version % does not follow the newest one', new.version using errcode = 'PL021';
    end if;
    perform refuse_effective_date(new.effective_from);
    return new;
end $$;
create trigger only_forward before insert on policy_version for each row execute function guard_policy_version();

-- A list of the document as an array; null when the condition is not set.
create function texts(list jsonb) returns text [] language sql immutable
set search_path = pg_catalog, pg_temp as $$
    select array_agg(t.value order by t.place) from jsonb_array_elements_text(list) with ordinality as t (value, place)
$$;

-- Writes the rules of a version out for the statements that judge orders. A new kind of rule, or a new condition,
-- is a new column here and in policy_rule.
create function explode_rules(number int) returns void language sql
set search_path = pg_catalog, points, pg_temp as $$
    insert into policy_rule (
        version, kind, position, name, amount, skus, exclude_skus, categories, exclude_categories, stores, channels, tiers, groups,
        weekdays, from_on, through_on, min_order_amount, first_order, birthday_month, activity, activity_count, per, max_times,
        spent_from, spent_below, spent_window)
    select
        v.version, kinds.kind, r.position, r.rule ->> 'name', (r.rule ->> kinds.amount)::numeric, texts(r.rule -> 'skus'),
        texts(r.rule -> 'exclude_skus'), texts(r.rule -> 'categories'), texts(r.rule -> 'exclude_categories'),
        texts(r.rule -> 'stores'), texts(r.rule -> 'channels'), texts(r.rule -> 'tiers'), texts(r.rule -> 'groups'),
        texts(r.rule -> 'weekdays')::smallint [], (r.rule ->> 'from')::date, (r.rule ->> 'through')::date,
        (r.rule ->> 'min_order_amount')::numeric, (r.rule ->> 'first_order')::boolean, (r.rule ->> 'birthday_month')::boolean,
        r.rule ->> 'activity', case when r.rule ? 'activity' then coalesce((r.rule ->> 'count')::int, 1) end, r.rule ->> 'per',
        case when r.rule ? 'activity' then coalesce((r.rule ->> 'max_times')::int, 1) end, (r.rule ->> 'spent_from')::numeric,
        (r.rule ->> 'spent_below')::numeric, r.rule ->> 'spent_window'
    from policy_version as v
    cross join (values ('rate', 'points_per_unit'), ('multiplier', 'factor'), ('bonus', 'points')) as kinds (kind, amount)
    cross join jsonb_array_elements(coalesce(v.document -> 'earn' -> kinds.kind, '[]')) with ordinality as r (rule, position)
    where v.version = number
$$;

-- The only writer of versions. The newest version again: its number, and nothing is written. Not for logins.
create function store_policy(document jsonb, effective_from date, proposal bigint default null) returns int language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    newest policy_version;
    number int;
begin
    lock table policy_version in share row exclusive mode;
    select * into newest from policy_version order by version desc limit 1;
    if newest.document = store_policy.document then return newest.version; end if;
    number := coalesce(newest.version, 0) + 1;
    insert into policy_version (version, effective_from, document, sha256, proposal_id)
    values (number, store_policy.effective_from, store_policy.document, document_sha256(store_policy.document), proposal);
    perform explode_rules(number);
    return number;
end $$;

-- Proposes a document against the version it was compared with. Needs it no approval, it is in force with the commit;
-- else it waits. The same proposal again answers with the first one.
create function propose_policy(
    document jsonb, effective_from date, base int, changes jsonb, needs_approval boolean, reason text
) returns policy_proposal language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    fingerprint constant text := document_sha256(propose_policy.document);
    proposed policy_proposal;
    approval bigint;
begin
    lock table policy_version in share row exclusive mode;
    select * into proposed from policy_proposal p
    where p.base_version = base and p.effective_from = propose_policy.effective_from and p.sha256 = fingerprint;
    if found then return proposed; end if;
    if base is distinct from (select max(version) from policy_version) then
        raise exception 'The newest is version %, this was compared with version %: propose it again',
            (select max(version) from policy_version), base using errcode = 'PL021';
    end if;
    perform refuse_effective_date(propose_policy.effective_from);
    if needs_approval then
        perform refuse_short_notice(propose_policy.effective_from, base);
        insert into approval (what, payload, reason)
        values ('policy', jsonb_build_object('sha256', fingerprint, 'effective_from', propose_policy.effective_from,
            'base_version', base), propose_policy.reason)
        returning approval_id into approval;
    end if;
    insert into policy_proposal (approval_id, base_version, effective_from, document, sha256, changes, reason)
    values (approval, base, propose_policy.effective_from, propose_policy.document, fingerprint, propose_policy.changes,
        propose_policy.reason)
    returning * into proposed;
    if not needs_approval then
        perform store_policy(proposed.document, proposed.effective_from, proposed.proposal_id);
    end if;
    return proposed;
end $$;

-- Makes the version that an approval is about; what is stored is what was approved, to the letter. Again: its number.
create function put_policy_in_force(approval bigint) returns int language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    asked constant jsonb := approved(approval, 'policy');
    proposed policy_proposal;
    stored int;
begin
    lock table policy_version in share row exclusive mode;
    select * into proposed from policy_proposal p where p.approval_id = approval;
    if not found then raise exception 'approval % is about no proposed programme', approval using errcode = 'PL005'; end if;
    select v.version into stored from policy_version v where v.proposal_id = proposed.proposal_id;
    if found then return stored; end if;
    if asked is distinct from jsonb_build_object('sha256', document_sha256(proposed.document),
        'effective_from', proposed.effective_from, 'base_version', proposed.base_version) then
        raise exception 'The document is not the one that was approved' using errcode = 'PL003';
    end if;
    if proposed.base_version is distinct from (select max(version) from policy_version) then
        raise exception 'Version % was put in force since, this was compared with version %: propose it again',
            (select max(version) from policy_version), proposed.base_version using errcode = 'PL021';
    end if;
    perform refuse_short_notice(proposed.effective_from, proposed.base_version);
    return store_policy(proposed.document, proposed.effective_from, proposed.proposal_id);
end $$;

-- Who may: the flows propose, the second person approves and puts in force; nobody writes versions by hand.
revoke insert on policy_version, policy_rule from loyalty_batch;
grant select on policy_proposal to loyalty_batch, loyalty_auditor, loyalty_approver;
revoke execute on function document_sha256(jsonb), open_business_date(), refuse_effective_date(date),
    refuse_short_notice(date, int), guard_policy_version(), texts(jsonb), explode_rules(int), store_policy(jsonb, date, bigint),
    propose_policy(jsonb, date, int, jsonb, boolean, text), put_policy_in_force(bigint) from public;
grant execute on function open_business_date(), document_sha256(jsonb) to loyalty_batch, loyalty_support, loyalty_auditor,
    loyalty_approver;
grant execute on function propose_policy(jsonb, date, int, jsonb, boolean, text) to loyalty_batch, loyalty_approver;
grant execute on function put_policy_in_force(bigint) to loyalty_batch, loyalty_approver;
