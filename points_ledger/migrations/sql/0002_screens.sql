-- Fraud screens (design 2.9): what the nights found, what people decided about it, and the block on a member's
-- redemptions. A screen finds; it refuses nothing and takes nothing away. A block is set by a person, released by another.

-- What a version says of screens. A version without [screens] gets what stands here; infra.programme_keys says the same.
create view screening as
select
    version,
    coalesce((document #>> '{screens,enabled}')::boolean, true) as enabled,
    coalesce((document #>> '{screens,history_days}')::int, 365) as history_days,
    coalesce((document #>> '{screens,min_history}')::int, 8) as min_history,
    coalesce((document #>> '{screens,deviations}')::numeric, 10) as deviations,
    coalesce((document #>> '{screens,member_earned_min}')::bigint, 1000) as member_earned_min,
    coalesce((document #>> '{screens,store_earned_min}')::bigint, 10000) as store_earned_min,
    coalesce((document #>> '{screens,members_per_contact}')::int, 4) as members_per_contact,
    coalesce((document #>> '{screens,minutes_after_earn}')::int, 15) as minutes_after_earn,
    coalesce((document #>> '{screens,large_earn}')::bigint, 1000) as large_earn,
    coalesce((document #>> '{screens,refund_days}')::int, 90) as refund_days,
    coalesce((document #>> '{screens,refunds_after_spend}')::int, 3) as refunds_after_spend,
    coalesce((document #>> '{screens,refund_share}')::numeric, 0.5) as refund_share,
    coalesce((document #>> '{screens,refund_min}')::bigint, 100) as refund_min,
    coalesce((document #>> '{screens,redemptions_per_day}')::int, 0) as redemptions_per_day,
    coalesce((document #>> '{screens,points_redeemed_per_day}')::bigint, 0) as points_redeemed_per_day,
    coalesce((document #>> '{screens,staff_days}')::int, 30) as staff_days,
    coalesce((document #>> '{screens,staff_same_member}')::int, 3) as staff_same_member,
    coalesce((document #>> '{screens,near_limit_share}')::numeric, 0.9) as near_limit_share,
    coalesce((document #>> '{screens,near_limit_count}')::int, 3) as near_limit_count,
    coalesce(document #> '{screens,staff}', '{}') as staff
from policy_version;

-- What was found, and what became of it ----------------------------------------------------------------------------

create table screen_finding (
    finding_id bigint generated always as identity primary key,
    screen text not null check (screen in (
        'member_earns_above_past', 'store_earns_above_past', 'shared_contact', 'redemption_after_earn',
        'refund_after_spend', 'redemptions_above_cap', 'staff_credits_self', 'staff_favours_member', 'staff_near_limit')),
    subject text collate "C" not null check (subject <> ''),
    member_id bigint references member,
    business_date date not null,
    facts jsonb not null check (jsonb_typeof(facts) = 'object'),
    policy_version int not null references policy_version,
    run_id bigint references run,
    recorded_at timestamptz not null default clock_timestamp(),
    constraint found_once unique (screen, subject, business_date)
);
create index screen_finding_of_member on screen_finding (member_id);
create index screen_finding_by_day on screen_finding (business_date);
comment on table screen_finding is
    'What a screen found on a business date about a member, store, contact or login (subject), with the facts it rests on.';
create table screen_review (
    finding_id bigint primary key references screen_finding,
    reason text not null check (length(btrim(reason)) >= 10),
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp()
);
comment on table screen_review is 'Somebody looked at a finding and closed it, once, and why.';

-- A store's past, one row a day, so that comparing with it does not read its orders again.
create table store_day (
    store text not null,
    business_date date not null,
    orders bigint not null check (orders > 0),
    points bigint not null check (points >= 0),
    primary key (store, business_date)
);
comment on table store_day is 'Points that the orders of a store earned, by the business date they were posted on.';

-- Contact data stays outside the ledger. What is kept is an HMAC-SHA256 under a key that only the importing process has:
-- it tells whether two members gave the same contact, and nothing else. Replaced by the newest file, so not append-only.
create table member_contact (
    member_id bigint primary key references member,
    fingerprint bytea not null check (octet_length(fingerprint) = 32)
);
create index member_contact_by_fingerprint on member_contact (fingerprint);

-- The block on a member's redemptions --------------------------------------------------------------------------------

create table redemption_block (
    block_id bigint generated always as identity primary key,
    member_id bigint not null references wallet,
    reason text not null check (length(btrim(reason)) >= 10),
    blocked_by text not null default session_user,
    blocked_at timestamptz not null default clock_timestamp(),
    unique (block_id, blocked_by)
);
create index redemption_block_of on redemption_block (member_id);
comment on table redemption_block is 'A member''s redemptions are refused from here until a row of redemption_release.';
create table redemption_release (
    block_id bigint primary key references redemption_block,
    blocked_by text not null,
    reason text not null check (length(btrim(reason)) >= 10),
    approval_id bigint references approval,
    released_by text not null default session_user,
    released_at timestamptz not null default clock_timestamp(),
    foreign key (block_id, blocked_by) references redemption_block (block_id, blocked_by),
    constraint another_login_releases check (released_by <> blocked_by)
);
comment on table redemption_release is 'A block ends once, by primary key, and by another login than the one that set it.';

-- The projection of the two tables that the verbs look at, in the row they lock anyway.
alter table wallet add column is_blocked boolean not null default false;

select make_append_only(array['screen_finding', 'screen_review', 'store_day', 'redemption_block', 'redemption_release']);

-- What spend, hold, capture and transfer call for a wallet with a block; a call that was answered before is answered again.
-- Returns, expiry, corrections and undos go on. Not a trigger on the wallet: its condition alone costs a spend a twentieth.
create function refuse_blocked(member_no text) returns void language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'the redemptions of member % are blocked', member_no
        using errcode = 'PL040', hint = 'See loyalty screens list; another login than the one that set the block releases it.';
end $$;

create function open_block(member bigint) returns redemption_block language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select b from redemption_block b
    where b.member_id = member and not exists (select from redemption_release r where r.block_id = b.block_id)
$$;

create function refuse_short_reason(reason text) returns void language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    if reason is null or length(btrim(reason)) < 10 then
        raise exception 'give a reason of at least 10 letters' using errcode = 'PL009';
    end if;
end $$;

-- Blocks a member's redemptions from now on. Again: the number of the block there is.
create function block_redemptions(member_no text, reason text) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    member constant bigint := member_by_no(member_no);
    known redemption_block;
begin
    perform refuse_short_reason(reason);
    perform from wallet where member_id = member for no key update;
    known := open_block(member);
    if known.block_id is null then
        insert into redemption_block (member_id, reason) values (member, block_redemptions.reason) returning * into known;
        update wallet set is_blocked = true where member_id = member;
    end if;
    return known.block_id;
end $$;

-- Ends the member's block, as the login that calls; the table refuses the one that set it. With a block's number: that one only.
create function end_block(member_no text, why text, block bigint, approval bigint) returns bigint language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    member constant bigint := member_by_no(member_no);
    known redemption_block;
begin
    perform refuse_short_reason(why);
    perform from wallet where member_id = member for no key update;
    known := open_block(member);
    if known.block_id is null or known.block_id <> coalesce(block, known.block_id) then
        raise exception 'the redemptions of member % are not blocked, or by another block', member_no using errcode = 'PL007';
    end if;
    insert into redemption_release (block_id, blocked_by, reason, approval_id)
    values (known.block_id, known.blocked_by, why, approval);
    update wallet set is_blocked = false where member_id = member;
    return known.block_id;
end $$;

create function release_redemptions(member_no text, reason text) returns bigint language sql security definer
set search_path = pg_catalog, points, pg_temp as $$
    select end_block(member_no, reason, null, null)
$$;

-- For whoever may not release (a form knows no person): proposes it; the approval releases, with approve_release.
create function propose_release(member_no text, reason text) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    known constant redemption_block := open_block(member_by_no(member_no));
    asked constant jsonb := jsonb_build_object('member_no', member_no, 'block_id', known.block_id);
begin
    if known.block_id is null then
        raise exception 'the redemptions of member % are not blocked', member_no using errcode = 'PL007';
    end if;
    return propose_once('release', asked, asked, reason);
end $$;

create function approve_release(approval bigint) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare asked jsonb;
begin
    perform approve(approval);
    asked := approved(approval, 'release');
    return end_block(asked ->> 'member_no', (select a.reason from approval a where a.approval_id = approval),
        (asked ->> 'block_id')::bigint, approval);
end $$;

-- Closes a finding that somebody looked into. Not one about the login that asks.
create function clear_finding(id bigint, reason text) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare found_facts jsonb;
begin
    perform refuse_short_reason(reason);
    select f.facts into found_facts from screen_finding f where f.finding_id = id;
    if found_facts is null then raise exception 'finding % is not known', id using errcode = 'PL005'; end if;
    if found_facts ->> 'login' = session_user then
        raise exception 'finding % is about %', id, session_user using errcode = 'PL041';
    end if;
    insert into screen_review (finding_id, reason) values (id, clear_finding.reason) on conflict do nothing;
    if not found then raise exception 'finding % has been cleared already', id using errcode = 'PL007'; end if;
end $$;

-- A finding is open until it is cleared, or its member is blocked after it was found.
create view open_screen_finding as
select f.*
from screen_finding f
where not exists (select from screen_review r where r.finding_id = f.finding_id)
    and not exists (select from redemption_block b where b.member_id = f.member_id and b.blocked_at >= f.recorded_at);

-- a return that takes no points leaves no entry of its day
create index return_line_effective_on on return_line using brin (effective_on) with (pages_per_range = 16, autosummarize = on);
create index approval_of_login on approval (proposed_by, what);

revoke execute on function refuse_blocked(text), open_block(bigint), refuse_short_reason(text),
    block_redemptions(text, text), end_block(text, text, bigint, bigint), release_redemptions(text, text),
    propose_release(text, text), approve_release(bigint), clear_finding(bigint, text) from public;
grant select on screening, screen_finding, screen_review, open_screen_finding, store_day, redemption_block, redemption_release
    to loyalty_batch, loyalty_auditor, loyalty_approver;
grant select on redemption_block, redemption_release to loyalty_support;
grant select on member_contact to loyalty_batch, loyalty_auditor;
grant insert on screen_finding, store_day to loyalty_batch;
grant execute on function block_redemptions(text, text), propose_release(text, text), clear_finding(bigint, text)
    to loyalty_batch, loyalty_approver;
grant execute on function release_redemptions(text, text), approve_release(bigint) to loyalty_approver;
