-- The outbox (design 11): notices are written in the transaction that causes them, sent later, at least once.
--
-- A notice never changes. What is still to be sent stands in notice_queue, the only table here that changes; what became
-- of each attempt is a row of notice_result, and what the member was sent a row of notice_proof.

create table notice (
    notice_id bigint generated always as identity primary key,
    member_id bigint not null references member,
    kind text collate "C" not null check (kind <> ''),
    class text not null check (class in ('transaction', 'legal', 'service', 'marketing')),
    channel text not null check (channel in ('email', 'sms')),
    dedupe_key text collate "C" not null unique check (dedupe_key <> ''),
    business_date date not null,
    facts jsonb not null check (jsonb_typeof(facts) = 'object'),
    not_before timestamptz not null,
    valid_until timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp()
);
create index notice_of_member on notice (member_id, business_date);
-- what was recorded since a moment is at the end of the table: found by this at almost no cost per insert
create index notice_recorded on notice using brin (recorded_at) with (pages_per_range = 16, autosummarize = on);
comment on table notice is 'What a member is told, once: dedupe_key comes from facts of the ledger. No contact data.';
create table digest_part (
    notice_id bigint primary key references notice,
    digest_id bigint not null references notice,
    check (notice_id <> digest_id)
);
create index digest_part_of on digest_part (digest_id);
comment on table digest_part is 'This notice goes out inside that one, and has no place in the queue of its own.';

create table notice_queue (
    notice_id bigint primary key references notice,
    channel text not null check (channel in ('email', 'sms')),
    not_before timestamptz not null,
    attempts smallint not null default 0 check (attempts >= 0),
    lease_owner text,
    lease_token bigint,
    lease_until timestamptz,
    is_sending boolean not null default false,
    constraint a_lease_is_whole check ((lease_owner is null) = (lease_token is null) and (lease_owner is null) = (lease_until is null)),
    constraint only_a_lease_sends check (not is_sending or lease_owner is not null)
) with (fillfactor = 70);
create index notice_queue_due on notice_queue (channel, not_before, notice_id);
create sequence lease_token_seq;
comment on table notice_queue is 'What is still to be sent: from when, how often it was tried, who is at it and until when.';

create table notice_result (
    notice_id bigint not null references notice,
    attempt smallint not null check (attempt > 0),
    result text not null
        check (result in ('accepted', 'refused', 'uncertain', 'retry', 'stale', 'suppressed', 'unreachable', 'held')),
    moment timestamptz not null,
    provider text,
    provider_ref text,
    detail text,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (notice_id, attempt)
);
create index notice_result_recorded on notice_result using brin (recorded_at) with (pages_per_range = 16, autosummarize = on);
comment on table notice_result is 'What became of each attempt. No personal data.';
create table proof_dictionary (
    template_version text collate "C" primary key check (template_version <> ''),
    content bytea not null
);
comment on table proof_dictionary is 'What the proofs of a version of the templates were compressed with: needed to read them. No personal data.';
create table notice_proof (
    notice_id bigint not null,
    attempt smallint not null,
    sealed bytea not null,
    template_version text collate "C" not null references proof_dictionary,
    primary key (notice_id, attempt),
    foreign key (notice_id, attempt) references notice_result
);
comment on table notice_proof is 'The exact bytes a member was sent, sealed under the member''s key: unreadable once that is destroyed.';
create table expiry_warning (
    member_id bigint not null references member,
    lapses_on date not null,
    notice_id bigint not null references notice,
    accepted_on date not null,
    primary key (member_id, lapses_on)
);
comment on table expiry_warning is 'The first accepted notice that named the last day of some points, and the local day it was accepted on.';

create table dispatcher_identity (
    only_one boolean primary key default true check (only_one),
    fingerprint text not null,
    installation text,
    reason text,
    accepted_by text not null default session_user,
    accepted_at timestamptz not null default clock_timestamp()
);
comment on table dispatcher_identity is
    'The database that may send. Another one (restored, copied, promoted) claims nothing until a person releases it.';
create table provider_rate (
    provider text collate "C" primary key check (provider <> ''),
    tat timestamptz not null
);
comment on table provider_rate is 'For each provider the moment up to which its rate is used up (GCRA), shared by all dispatchers.';

select make_append_only(array['notice', 'digest_part', 'notice_result', 'proof_dictionary', 'notice_proof', 'expiry_warning']);

-- The guard -----------------------------------------------------------------------------------------------------------

-- What tells this database from a copy of it. A dump restored or CREATE DATABASE … TEMPLATE has another oid, another server
-- another system identifier, and one that was recovered to a moment, or promoted, another timeline. A copy of a whole
-- machine's disk has the same: there LOYALTY_INSTALLATION tells them apart.
create function database_fingerprint() returns text language sql security definer
set search_path = pg_catalog, points, pg_temp as $$
    select format('system %s, timeline %s, database %s', (select system_identifier from pg_control_system()),
        ltrim(left(pg_walfile_name(pg_current_wal_lsn()), 8), '0'),
        (select oid from pg_database where datname = current_database()))
$$;

-- The database that writes the first notice is the one that sends it.
create function remember_identity() returns trigger language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    if not exists (select from dispatcher_identity) then
        insert into dispatcher_identity (fingerprint) values (database_fingerprint()) on conflict do nothing;
    end if;
    return null;
end $$;
create trigger remember_identity before insert on notice for each statement execute function remember_identity();

-- Why this database may not send, in a sentence; null when it may.
create function why_held(installation text) returns text language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    known dispatcher_identity;
    here constant text := database_fingerprint();
begin
    select * into known from dispatcher_identity;
    if known.fingerprint <> here then
        return format('the notices belong to %s, and this is %s', known.fingerprint, here);
    end if;
    if known.installation <> why_held.installation then
        return format('the notices belong to the installation %s, and this is %s', known.installation, why_held.installation);
    end if;
    return null;
end $$;

-- A person lets this database send from now on. is_dropping: what is in the queue now is not sent, its result is `held`.
-- Returns how many notices were dropped.
create function release_notices(installation text, reason text, moment timestamptz, is_dropping boolean) returns bigint
language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare dropped bigint := 0;
begin
    perform refuse_short_reason(reason);
    insert into dispatcher_identity as i (fingerprint, installation, reason)
    values (database_fingerprint(), release_notices.installation, release_notices.reason)
    on conflict (only_one) do update set fingerprint = excluded.fingerprint, installation = excluded.installation,
        reason = excluded.reason, accepted_by = session_user, accepted_at = clock_timestamp();
    if is_dropping then
        with gone as (delete from notice_queue returning notice_id, attempts)
        insert into notice_result (notice_id, attempt, result, moment, detail)
        select notice_id, attempts + 1, 'held', release_notices.moment, 'dropped when the queue was released' from gone;
        get diagnostics dropped = row_count;
    end if;
    return dropped;
end $$;

-- Claim, send, finish -------------------------------------------------------------------------------------------------

-- What a notice says, as of now: the points of a warning that are still there. Null when nothing of it is so any more: the points
-- are gone, or the tier is safe or lost.
create function facts_now(member bigint, kind text, facts jsonb, day date) returns jsonb language plpgsql stable
set search_path = pg_catalog, points, pg_temp as $$
declare
    lots jsonb;
    points_left bigint;
    worth numeric;
begin
    if kind = 'digest' then
        select jsonb_agg(jsonb_set(p.part, '{facts}', p.facts) order by p.n) into lots from (
            select part, n, facts_now(member, part ->> 'kind', part -> 'facts', day) as facts
            from jsonb_array_elements(facts_now.facts -> 'parts') with ordinality as listed (part, n)) as p
        where p.facts is not null;
        return case when lots is not null then jsonb_set(facts, '{parts}', lots) end;
    end if;
    if kind = 'tier_at_risk' then
        return case when exists (
            select from member_tier t
            where t.member_id = member and t.tier = facts_now.facts ->> 'tier' and t.review_on = (facts_now.facts ->> 'deadline')::date
        ) then facts end;
    end if;
    if kind not in ('points_expiring', 'win_back') then return facts; end if;
    select sum(d.points), jsonb_agg(jsonb_build_object('points', d.points, 'expires_on', d.last_day) order by d.last_day)
    into points_left, lots
    from (
        select sum(l.remaining)::bigint as points, last_day(l.valid_through, w.active_on, l.idle_by) as last_day
        from lot l join wallet w on w.member_id = l.member_id
        where l.member_id = member and l.is_open
        group by 2
    ) as d
    where d.last_day = any(array(select jsonb_array_elements_text(
        coalesce(facts_now.facts -> 'dates', jsonb_build_array(facts_now.facts -> 'expires_on')))::date));
    if points_left is null then return null; end if;
    if points_left >= (facts ->> 'points')::bigint then return facts; end if;
    facts := facts || jsonb_build_object('points', points_left, 'as_of', day,
        'balance', (select w.balance from wallet w where w.member_id = member));
    if facts ? 'lots' then facts := facts || jsonb_build_object('lots', lots); end if;
    if facts ? 'value' then
        select p.point_value into worth from policy p where p.version = version_on(day);
        facts := facts || jsonb_build_object('value', round(points_left * worth, scale((facts ->> 'value')::numeric))::text);
    end if;
    return facts;
end $$;

-- Whether a member agreed to notices of a class by a channel: the newest word counts, for this channel or for any. Inlined: no SET.
create function has_consent(member bigint, class text, channel text) returns boolean language sql stable as $$
    select has_consent.class in ('transaction', 'legal') or coalesce((
        select c.granted from points.consent c
        where c.member_id = member and c.class = has_consent.class and c.channel in (has_consent.channel, 'any')
        order by c.consent_no desc limit 1), has_consent.class = 'service')
$$;

-- Why nothing of a class is sent to an address now: the cause of the suppression that is not lifted; null: it may be. Inlined.
create function suppressed_by(mark bytea, channel text, class text) returns text language sql stable as $$
    select (
        select s.cause from points.suppression s
        where s.mark = suppressed_by.mark and s.channel = suppressed_by.channel and s.cause <> 'lifted'
            and (s.cause <> 'complaint' or suppressed_by.class <> 'legal')
            and not exists (
                select from points.suppression l where l.mark = s.mark and l.channel = s.channel and l.cause = 'lifted'
                    and l.suppression_no > s.suppression_no)
        order by s.suppression_no limit 1)
$$;

-- The day of a moment in the programme's zone.
create function local_day(moment timestamptz) returns date language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select (moment at time zone (select p.time_zone from policy p where p.version = version_on(moment::date)))::date
$$;

-- Leases up to `n` due notices of a channel to `owner`, and returns them, as of now and with the contact to open. What may not go
-- out any more gets its result instead, what came into the quiet hours of its member waits for their end, and the next are looked at. A lease that ran out is taken over: had its worker begun to
-- send, that attempt is `uncertain`, and only transaction and legal notices are tried again. Leases are counted by the clock.
create function claim_notices(owner text, moment timestamptz, n int, lease interval, by_channel text, installation text)
returns table (
    notice_id bigint, member_id bigint, kind text, class text, channel text, facts jsonb, dedupe_key text, business_date date,
    attempt smallint, token bigint, key_wrapped bytea, key_id text, sealed bytea, locale text, time_zone text, member_no text
) language plpgsql security definer
set search_path = pg_catalog, points, pg_temp
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off as $$
#variable_conflict use_column
declare
    why constant text := why_held(claim_notices.installation);
    ours constant bigint := nextval('points.lease_token_seq');
    today constant date := local_day(claim_notices.moment);
    taken bigint [];
    settled bigint [];
    looked_at bigint [];
    fresh jsonb [];
    postponed bigint [];
begin
    if why is not null then
        raise exception 'notices are held: %', why using errcode = 'PL070',
            hint = 'After looking at what would go out, a person says: loyalty notices release --reason …';
    end if;
    update dispatcher_identity set installation = claim_notices.installation
    where installation is null and claim_notices.installation is not null;
    loop
        select array_agg(due.notice_id) into taken from (
            select q.notice_id from notice_queue q
            where q.channel = by_channel and q.not_before <= moment
                and (q.lease_until is null or q.lease_until < clock_timestamp())
            order by q.not_before, q.notice_id limit n for update skip locked
        ) as due;
        exit when taken is null;
        -- attempts whose worker was lost
        insert into notice_result (notice_id, attempt, result, moment, detail)
        select q.notice_id, q.attempts, case when q.is_sending then 'uncertain' when q.attempts >= 8 then 'refused' else 'retry' end,
            claim_notices.moment, 'the lease ran out'
        from notice_queue q where q.notice_id = any(taken) and q.lease_owner is not null;
        select array_agg(q.notice_id) into settled
        from notice_queue q join notice x on x.notice_id = q.notice_id
        where q.notice_id = any(taken) and q.lease_owner is not null
            and (q.attempts >= 8 or (q.is_sending and x.class in ('service', 'marketing')));
        delete from notice_queue q where q.notice_id = any(settled);
        taken := array(select unnest(taken) except select unnest(settled));
        -- what may not go out
        insert into notice_result (notice_id, attempt, result, moment, detail)
        select j.notice_id, j.attempt, split_part(j.verdict, ': ', 1), claim_notices.moment, split_part(j.verdict, ': ', 2) from (
            select q.notice_id, q.attempts + 1 as attempt, case
                when x.valid_until <= claim_notices.moment then 'stale: too late'
                when exists (select from erasure e where e.member_id = x.member_id) then 'suppressed: erased'
                when x.kind = 'win_back' and exists (
                    select from entry e
                    where e.member_id = x.member_id and e.kind in ('earn', 'spend') and e.source <> 'undo' and e.book_date > x.business_date
                ) then 'stale: the member is back'
                when a.mark is null then 'unreachable: no ' || case by_channel when 'email' then 'address' else 'number' end
                else coalesce('suppressed: ' || suppressed_by(a.mark, x.channel, x.class),
                    case when not has_consent(x.member_id, x.class, x.channel) then 'suppressed: no consent' end)
            end as verdict
            from notice_queue q
            join notice x on x.notice_id = q.notice_id
            left join lateral (
                select case by_channel when 'email' then c.email_mark else c.phone_mark end as mark from contact c
                where c.member_id = x.member_id) as a on true
            where q.notice_id = any(taken)) as j
        where j.verdict is not null;
        select array_agg(x.notice_id), array_agg(facts_now(x.member_id, x.kind, x.facts, today)) into looked_at, fresh
        from notice x where x.notice_id = any(taken);
        insert into notice_result (notice_id, attempt, result, moment, detail)
        select q.notice_id, q.attempts + 1, 'stale', claim_notices.moment, 'nothing of it is so any more'
        from unnest(looked_at, fresh) as f (notice_id, facts) join notice_queue q on q.notice_id = f.notice_id
        where f.facts is null
        on conflict do nothing;  -- it has got another result just now
        delete from notice_queue q
        where q.notice_id = any(taken)
            and exists (select from notice_result r where r.notice_id = q.notice_id and r.attempt = q.attempts + 1);
        -- no advertising and no SMS in the quiet hours, whatever made them late
        with quiet as (
            select x.notice_id, after_quiet(claim_notices.moment, known_zone(
                (select m.time_zone from member m where m.member_id = x.member_id), p.time_zone), p.quiet_from, p.quiet_to) as ends
            from notice x
            join notice_policy p on p.version = version_on(today)
            where x.notice_id = any(taken) and (x.channel = 'sms' or x.class = 'marketing')
        ), later as (
            update notice_queue q set not_before = w.ends, lease_owner = null, lease_token = null, lease_until = null, is_sending = false
            from quiet w where q.notice_id = w.notice_id and w.ends > claim_notices.moment
            returning q.notice_id
        )
        select array_agg(l.notice_id) into postponed from later l;
        taken := array(select unnest(taken) except select unnest(postponed));
        update notice_queue q set attempts = q.attempts + 1, lease_owner = claim_notices.owner, lease_token = ours,
            lease_until = clock_timestamp() + lease, is_sending = false
        where q.notice_id = any(taken);
        continue when not found;
        return query
        select x.notice_id, x.member_id, x.kind, x.class, x.channel, f.facts,
            x.dedupe_key, x.business_date, q.attempts, ours, c.key_wrapped, c.key_id, c.sealed, m.locale, m.time_zone, m.member_no
        from unnest(looked_at, fresh) as f (notice_id, facts)
        join notice_queue q on q.notice_id = f.notice_id
        join notice x on x.notice_id = f.notice_id
        join member m on m.member_id = x.member_id
        join contact c on c.member_id = x.member_id
        where f.notice_id = any(taken)
        order by q.not_before, q.notice_id;
        exit;
    end loop;
end $$;

-- The notices of a batch that still belong to a lease, locked. The planner knows lease_owner as always null, expects one row of a
-- plain comparison with it, and then reads the whole queue again for each id: hence `is not distinct from`. All of these go by
-- key, never by reading every notice: no sequential scans, no hash or merge joins.
create function leased(owner text, token bigint, ids bigint []) returns bigint [] language sql
set search_path = pg_catalog, points, pg_temp
set enable_seqscan = off as $$
    select coalesce(array_agg(l.notice_id), '{}') from (
        select q.notice_id from notice_queue q
        where q.notice_id = any(ids) and q.lease_owner is not distinct from owner and q.lease_token is not distinct from token
        order by q.notice_id for update
    ) as l
$$;

-- A worker goes on: its lease lasts longer. Returns the notices that are still its own; the others it must not send.
create function renew_lease(owner text, token bigint, ids bigint [], lease interval) returns bigint [] language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare ours constant bigint [] := leased(owner, token, ids);
begin
    update notice_queue q set lease_until = clock_timestamp() + lease where q.notice_id = any(ours);
    return ours;
end $$;

-- A worker is about to send: if it is lost from now on, nobody knows what went out. Returns the notices that are still its own.
create function mark_sending(owner text, token bigint, ids bigint [], lease interval) returns bigint [] language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare ours constant bigint [] := leased(owner, token, ids);
begin
    update notice_queue q set is_sending = true, lease_until = clock_timestamp() + lease where q.notice_id = any(ours);
    return ours;
end $$;

-- Writes what became of notices, and of those accepted the proof and the warnings. `retry`, and `uncertain` of transaction and
-- legal notices, go back into the queue until their `next` moment (never after they are stale), at most 8 times; then a retry is
-- `refused`. Returns the notices that were finished: of those whose lease was lost, nothing is written.
create function finish_notices(
    owner text, token bigint, moment timestamptz, ids bigint [], results text [], providers text [], refs text [], details text [],
    nexts timestamptz [], proofs bytea [], versions text []
) returns bigint [] language plpgsql security definer
set search_path = pg_catalog, points, pg_temp
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off as $$
declare
    ours constant bigint [] := leased(owner, token, ids);
    again bigint [];
begin
    if exists (select from unnest(results) as r (result) where r.result is null or r.result not in ('accepted', 'refused', 'uncertain', 'retry')) then
        raise exception 'a result is accepted, refused, uncertain or retry' using errcode = 'PL009';
    end if;
    insert into notice_result (notice_id, attempt, result, moment, provider, provider_ref, detail)
    select q.notice_id, q.attempts, case when f.result = 'retry' and q.attempts >= 8 then 'refused' else f.result end,
        finish_notices.moment, f.provider, f.provider_ref,
        case when f.result = 'retry' and q.attempts >= 8 then concat_ws(': ', 'given up after 8 attempts', f.detail) else f.detail end
    from unnest(ids, results, providers, refs, details) as f (notice_id, result, provider, provider_ref, detail)
    join notice_queue q on q.notice_id = f.notice_id
    where f.notice_id = any(ours);
    insert into notice_proof (notice_id, attempt, sealed, template_version)
    select q.notice_id, q.attempts, f.sealed, f.template_version
    from unnest(ids, proofs, versions) as f (notice_id, sealed, template_version)
    join notice_queue q on q.notice_id = f.notice_id
    where f.notice_id = any(ours) and f.sealed is not null;
    insert into expiry_warning (member_id, lapses_on, notice_id, accepted_on)
    select distinct on (x.member_id, d.day::date) x.member_id, d.day::date, x.notice_id,
        local_day(finish_notices.moment)
    from unnest(ids, results) as f (notice_id, result)
    left join digest_part dp on dp.digest_id = f.notice_id
    join notice x on x.notice_id = coalesce(dp.notice_id, f.notice_id)
    cross join lateral jsonb_array_elements_text(x.facts -> 'dates') as d (day)
    where f.notice_id = any(ours) and f.result = 'accepted' and jsonb_typeof(x.facts -> 'dates') = 'array'
        -- a part whose points were gone was left out of its digest, and warns of nothing should they come back
        and (dp.notice_id is null or facts_now(x.member_id, x.kind, x.facts, local_day(finish_notices.moment)) is not null)
    order by x.member_id, d.day::date, x.notice_id
    on conflict do nothing;
    select coalesce(array_agg(q.notice_id), '{}') into again
    from unnest(ids, results) as f (notice_id, result)
    join notice_queue q on q.notice_id = f.notice_id
    join notice x on x.notice_id = f.notice_id
    where f.notice_id = any(ours) and q.attempts < 8
        and (f.result = 'retry' or (f.result = 'uncertain' and x.class in ('transaction', 'legal')));
    update notice_queue q set not_before = least(coalesce(f.next, finish_notices.moment), x.valid_until), lease_owner = null,
        lease_token = null, lease_until = null, is_sending = false
    from unnest(ids, nexts) as f (notice_id, next), notice x
    where f.notice_id = any(again) and q.notice_id = f.notice_id and x.notice_id = f.notice_id;
    delete from notice_queue q where q.notice_id = any(ours) and q.notice_id <> all(again);
    return ours;
end $$;

-- Rates ---------------------------------------------------------------------------------------------------------------

-- Asks for `n` messages of a provider's rate (GCRA, one row for all dispatchers). Returns 0 when they may go, else the seconds
-- to wait before asking again. By the clock.
create function take_rate(provider text, n int, per_second numeric, burst int) returns numeric language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare ahead interval;
begin
    insert into provider_rate values (take_rate.provider, clock_timestamp()) on conflict do nothing;
    select r.tat - clock_timestamp() into ahead from provider_rate r where r.provider = take_rate.provider for update;
    if ahead > make_interval(secs => burst / per_second) then
        return extract(epoch from ahead) - burst / per_second;
    end if;
    update provider_rate r set tat = greatest(r.tat, clock_timestamp()) + make_interval(secs => n / per_second)
    where r.provider = take_rate.provider;
    return 0;
end $$;

-- A provider said "too fast": nobody sends through it for so long.
create function pause_provider(provider text, pause interval) returns void language sql security definer
set search_path = pg_catalog, points, pg_temp as $$
    insert into provider_rate as r values (pause_provider.provider, clock_timestamp() + pause)
    on conflict (provider) do update set tat = greatest(r.tat, excluded.tat)
$$;

revoke execute on function database_fingerprint(), remember_identity(), why_held(text), release_notices(text, text, timestamptz, boolean),
    facts_now(bigint, text, jsonb, date), has_consent(bigint, text, text), suppressed_by(bytea, text, text),
    local_day(timestamptz), claim_notices(text, timestamptz, int, interval, text, text), leased(text, bigint, bigint []),
    renew_lease(text, bigint, bigint [], interval), mark_sending(text, bigint, bigint [], interval),
    finish_notices(text, bigint, timestamptz, bigint [], text [], text [], text [], text [], timestamptz [], bytea [], text []),
    take_rate(text, int, numeric, int), pause_provider(text, interval) from public;
grant execute on function why_held(text), facts_now(bigint, text, jsonb, date), has_consent(bigint, text, text),
    suppressed_by(bytea, text, text) to loyalty_batch, loyalty_auditor;
grant execute on function claim_notices(text, timestamptz, int, interval, text, text), renew_lease(text, bigint, bigint [], interval),
    mark_sending(text, bigint, bigint [], interval),
    finish_notices(text, bigint, timestamptz, bigint [], text [], text [], text [], text [], timestamptz [], bytea [], text []),
    take_rate(text, int, numeric, int), pause_provider(text, interval) to loyalty_batch;
grant execute on function release_notices(text, text, timestamptz, boolean) to loyalty_batch, loyalty_approver;

grant select on notice, digest_part, notice_queue, notice_result, proof_dictionary, notice_proof, expiry_warning,
    dispatcher_identity, provider_rate to loyalty_batch, loyalty_auditor;
grant select on notice, digest_part, notice_queue, notice_result, expiry_warning to loyalty_support, loyalty_approver;
grant insert (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until) on notice to loyalty_batch;
grant insert (notice_id, digest_id) on digest_part to loyalty_batch;
grant insert (notice_id, channel, not_before) on notice_queue to loyalty_batch;
grant insert on proof_dictionary to loyalty_batch;
