-- Adjustments and reinstatements with four eyes (design 2.10): what may be proposed, by whom, and how much; and the one
-- call by which the second person approves and posts, both or neither.

-- What a version says of proposals. A version without [approval] gets what stands here.
create view approval_policy as
select
    version,
    case when document #> '{approval,reason_codes}' is null
        then array['goodwill', 'missing_points', 'complaint', 'correction', 'misuse', 'other']
        else array(select jsonb_array_elements_text(document #> '{approval,reason_codes}')) end as reason_codes,
    coalesce((document #>> '{approval,max_points_per_adjustment}')::bigint, 10000) as max_points_per_adjustment,
    coalesce((document #>> '{approval,max_points_per_day_and_login}')::bigint, 50000) as max_points_per_day_and_login,
    coalesce((document #>> '{approval,reinstate_days}')::int, 30) as reinstate_days,
    coalesce(document #> '{approval,limit}', '[]') as limits,
    document #>> '{programme,time_zone}' as time_zone
from policy_version;

-- The limits of the login that asks: the widest of those written for it or for a role it belongs to, else the general ones.
create function my_limits() returns table (per_adjustment bigint, per_day bigint, time_zone text) language sql stable
security definer
set search_path = pg_catalog, points, pg_temp as $$
    select
        coalesce(max((l.own ->> 'max_points_per_adjustment')::bigint), p.max_points_per_adjustment),
        coalesce(max((l.own ->> 'max_points_per_day')::bigint), p.max_points_per_day_and_login),
        p.time_zone
    from approval_policy p
    left join (
        jsonb_array_elements((select limits from approval_policy where version = version_on(open_business_date()))) as l (own)
        inner join pg_roles r on r.rolname = l.own ->> 'role' and pg_has_role(session_user, r.oid, 'member')
    ) on true
    where p.version = version_on(open_business_date())
    group by p.max_points_per_adjustment, p.max_points_per_day_and_login, p.time_zone
$$;

-- Refuses an adjustment above the limits of the login that asks. What counts for a day is what this login proposed on
-- that day of the calendar, approved or not: here the clock is meant, for a day that is an argument could be chosen.
create function refuse_above_limits(points bigint) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    allowed record;
    so_far numeric;
begin
    select * into allowed from my_limits();
    if not found then return; end if;
    if abs(points) > allowed.per_adjustment then
        raise exception '% points are more than the % that % may propose at once', abs(points), allowed.per_adjustment, session_user
            using errcode = 'PL034', hint = 'See [approval] in the programme file.';
    end if;
    perform pg_advisory_xact_lock(20265, hashtext(session_user));  -- two proposals at once must see each other
    select coalesce(sum(abs((a.payload ->> 'points')::numeric)), 0) into so_far
    from approval a
    where a.what = 'adjustment' and a.proposed_by = session_user
        and (a.proposed_at at time zone allowed.time_zone)::date = (clock_timestamp() at time zone allowed.time_zone)::date;
    if so_far + abs(points) > allowed.per_day then
        raise exception '% points today and % before are more than the % that % may propose in a day', abs(points), so_far,
            allowed.per_day, session_user using errcode = 'PL034', hint = 'See [approval] in the programme file.';
    end if;
end $$;

-- Every adjustment is held to the limits, whatever proposes it.
create function propose(what text, payload jsonb, reason text) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare proposed bigint;
begin
    if what = 'adjustment' then
        perform refuse_above_limits((payload ->> 'points')::bigint);
    end if;
    insert into approval (what, payload, reason) values (propose.what, propose.payload, propose.reason)
    returning approval_id into proposed;
    return proposed;
end $$;

-- The same proposal of the same login, while it waits, is the same proposal: a form sent twice asks once.
create function propose_once(what text, payload jsonb, identity jsonb, reason text) returns bigint language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare waiting bigint;
begin
    if reason is null or length(btrim(reason)) < 10 then
        raise exception 'the second person has to know why: give a reason of at least 10 letters' using errcode = 'PL009';
    end if;
    perform pg_advisory_xact_lock(20265, hashtext(session_user));
    select a.approval_id into waiting from approval a
    where a.what = propose_once.what and a.payload @> identity and a.reason = propose_once.reason and a.approved_by is null
        and a.proposed_by = session_user
    order by a.approval_id limit 1;
    return coalesce(waiting, propose(propose_once.what, propose_once.payload, propose_once.reason));
end $$;

create function refuse_unlisted(code text) returns void language plpgsql stable
set search_path = pg_catalog, points, pg_temp as $$
declare listed constant text [] := (select reason_codes from approval_policy where version = version_on(open_business_date()));
begin
    if code is null or code <> all(listed) then
        raise exception 'the reason code "%" is not in the programme: use one of %', coalesce(code, ''), array_to_string(listed, ', ')
            using errcode = 'PL009';
    end if;
end $$;

-- Proposes to give (points > 0) or take (points < 0). Points that are given last as long as points earned on that day
-- would, unless a last valid day is named.
create function propose_adjustment(
    member_no text, points bigint, day date, last_day date, reason_code text, reason text
) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    member constant bigint := member_by_no(member_no);
    asked jsonb;
begin
    perform refuse_unlisted(reason_code);
    if coalesce(points, 0) = 0 then
        raise exception 'an adjustment of no points' using errcode = 'PL009';
    end if;
    if points < 0 and -points > available(member, day) then
        raise exception 'member % has fewer than % points available on %', member_no, -points, day using errcode = 'PL006';
    end if;
    if last_day < day then
        raise exception 'points valid through % would have lapsed before %', last_day, day using errcode = 'PL009';
    end if;
    asked := jsonb_build_object('member_no', member_no, 'points', points, 'reason_code', reason_code, 'valid_through',
        case when points > 0 then coalesce(last_day, (
            select valid_through(day, p.expiry_basis, p.expiry_months, p.round_up_to, p.month_day)
            from policy p where p.version = version_on(day))) end)
        || case when points > 0 and last_day is null then jsonb_strip_nulls(jsonb_build_object('idle_by', (
            select p.version from policy p where p.version = version_on(day) and p.idle_months is not null))) else '{}' end;
    return propose_once('adjustment', asked, asked, reason);
end $$;

-- Proposes to give back the points that lapsed from a lot, valid again for so many days from the day they are posted.
create function propose_reinstatement(member_no text, lot bigint, valid_days int, reason_code text, reason text)
returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    member constant bigint := member_by_no(member_no);
    lapsed entry;
    asked jsonb;
begin
    perform refuse_unlisted(reason_code);
    if valid_days < 1 then
        raise exception 'points have to be valid for at least one day' using errcode = 'PL009';
    end if;
    select * into lapsed from entry e where e.member_id = member and e.lot_seq = lot and e.kind = 'expire';
    if not found then
        raise exception 'no points of lot % of member % have lapsed', lot, member_no using errcode = 'PL005';
    end if;
    perform from one_use u where u.what = 'reversal' and u.member_id = member and u.ref = lapsed.seq;
    if found then
        raise exception 'the points of lot % of member % have been given back already', lot, member_no using errcode = 'PL007';
    end if;
    asked := jsonb_build_object('member_no', member_no, 'expired_seq', lapsed.seq, 'lot', lot, 'points', lapsed.points,
        'reason_code', reason_code, 'valid_days', coalesce(valid_days,
            (select p.reinstate_days from approval_policy p where p.version = version_on(open_business_date()))));
    return propose_once('reinstatement', asked, asked, reason);
end $$;

-- payload: {"member_no": text, "expired_seq": seq of the expire entry, "valid_days": int}, counted from the day of posting;
-- or, instead of valid_days, "valid_through": date.
create function reinstate(approval bigint, day date) returns posting language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    asked constant jsonb := approved(approval, 'reinstatement');
    why constant text := (select a.reason from approval a where a.approval_id = approval);
    member constant bigint := member_by_no(asked ->> 'member_no');
    request constant bytea := request_hash('reinstate', asked::text);
    journal constant uuid := journal_of(member, 'reinstatement', approval::text);
    w wallet;
    lapsed entry;
    book date;
begin
    select * into w from wallet where member_id = member for no key update;
    if already_posted(member, 'reinstatement', approval::text, request) then
        return posting_of(member, 'reinstatement', approval::text);
    end if;
    select * into lapsed from entry e
    where e.member_id = member and e.seq = (asked ->> 'expired_seq')::bigint and e.kind = 'expire';
    if not found then raise exception 'that entry is no expiry of this member' using errcode = 'PL005'; end if;
    book := book_date_for(day, w.last_book);
    perform open_day(book);
    insert into one_use values ('approval', member, approval), ('reversal', member, lapsed.seq);
    perform open_lot(member, lapsed.points, 'reinstate', day, book, journal, 'reinstatement', approval::text, null, day,
        case when asked ? 'valid_days' then book + (asked ->> 'valid_days')::int else (asked ->> 'valid_through')::date end,
        lapsed.seq, approval, why);
    perform remember_posting(member, 'reinstatement', approval::text, request, journal, book, w.seq);
    perform tell_adjustment(member, approval, lapsed.points, day, book);
    return posting_of(member, 'reinstatement', approval::text);
exception when unique_violation then
    raise exception 'these points have been reinstated already' using errcode = 'PL007';
end $$;

-- The second person's one call: approves what waits and posts it, in one transaction. The login needs no right to post.
create function approve_and_post(approval bigint, day date) returns posting language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare asked constant text := (select a.what from approval a where a.approval_id = approval);
begin
    if asked is null then raise exception 'approval % is not known', approval using errcode = 'PL005'; end if;
    if asked not in ('adjustment', 'reinstatement') then
        raise exception 'approval % is about a %, which is not posted at one member', approval, asked using errcode = 'PL009';
    end if;
    perform approve(approval);
    if asked = 'adjustment' then return adjust(approval, day); end if;
    return reinstate(approval, day);
end $$;

revoke execute on function my_limits(), refuse_above_limits(bigint), propose(text, jsonb, text),
    propose_once(text, jsonb, jsonb, text), refuse_unlisted(text),
    propose_adjustment(text, bigint, date, date, text, text), propose_reinstatement(text, bigint, int, text, text),
    reinstate(bigint, date), approve_and_post(bigint, date) from public;
grant select on approval_policy to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function my_limits(), propose(text, jsonb, text), propose_adjustment(text, bigint, date, date, text, text),
    propose_reinstatement(text, bigint, int, text, text) to loyalty_batch, loyalty_approver;
grant execute on function reinstate(bigint, date) to loyalty_batch;
grant execute on function approve_and_post(bigint, date) to loyalty_approver;
