-- Writing notices into the outbox, in the transaction that causes them. What is due is found by the statements notice_*.sql; here
-- it gets its channel and its hour, once.

create type due_notice as (
    member_id bigint, kind text, class text, dedupe_key text, facts jsonb, not_before timestamptz, valid_until timestamptz
);
-- business dates ascend, so this finds a night's notices at almost no cost per insert
create index notice_by_day on notice using brin (business_date) with (pages_per_range = 16, autosummarize = on);

-- The first moment of a business date.
create function begins(day date, zone text) returns timestamptz language sql stable as $$
    select day::timestamp at time zone zone
$$;

-- A zone that Postgres knows: the one given, else the other.
create function known_zone(zone text, otherwise text) returns text language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
begin
    perform now() at time zone zone;
    return coalesce(zone, otherwise);
exception when invalid_parameter_value then
    return otherwise;
end $$;

-- The first moment, from one on, that is not in the quiet hours of a zone. The end is a time of the wall clock there: where it is
-- skipped in spring the hour after it counts, where it comes twice in autumn the second time.
create function after_quiet(moment timestamptz, zone text, quiet_from time, quiet_to time) returns timestamptz language sql stable as $$
    select case
        when quiet_from = quiet_to then moment
        when quiet_from < quiet_to then case when l.clock >= quiet_from and l.clock < quiet_to
            then (l.day + quiet_to) at time zone zone else moment end
        when l.clock >= quiet_from then (l.day + 1 + quiet_to) at time zone zone
        when l.clock < quiet_to then (l.day + quiet_to) at time zone zone
        else moment
    end
    from (select (moment at time zone zone)::date as day, (moment at time zone zone)::time as clock) as l
$$;

-- Writes notices of a business date: those whose kind the version of that date names, that nobody was told of before on any
-- channel, and for which a channel reaches the member. Advertising stays within its cap. Returns how many it wrote.
create function enqueue_notices(due due_notice [], day date) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp set jit = off as $$
declare
    rule constant notice_policy := (select p from notice_policy p where p.version = version_on(day));
    written bigint;
begin
    if due is null or cardinality(rule.kinds) = 0 then return 0; end if;
    with untold as materialized (
        select d.*
        from unnest(due) as d
        where d.kind = any(rule.kinds)
            and not exists (select from notice n where n.dedupe_key = d.dedupe_key || ':email')
            and not exists (select from notice n where n.dedupe_key = d.dedupe_key || ':sms')
            and (d.class <> 'marketing' or rule.marketing_per_30_days > (
                select count(*) from notice n
                where n.member_id = d.member_id and n.class = 'marketing' and n.business_date > enqueue_notices.day - 30))
    ), wanted as materialized (
        select u.*, r.channel from untold as u cross join lateral reach(u.member_id, u.class, rule.channels) as r
    ), timed as (
        select w.*, case when w.channel = 'sms' or w.class = 'marketing'
            then after_quiet(w.not_before, known_zone(
                (select m.time_zone from member m where m.member_id = w.member_id), rule.time_zone), rule.quiet_from, rule.quiet_to)
            else w.not_before end as quiet_before
        from wanted as w
    ), inserted as (
        insert into notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until)
        select member_id, kind, class, channel, dedupe_key || ':' || channel, enqueue_notices.day, facts, quiet_before, valid_until
        from timed
        on conflict (dedupe_key) do nothing
        returning notice_id, channel, not_before
    ), queued as (
        insert into notice_queue (notice_id, channel, not_before) select notice_id, channel, not_before from inserted returning 1
    )
    select count(*) into written from queued;
    return written;
end $$;

-- Of several service notices of a member, a business date and a channel that nobody has begun to send, one digest. Returns the
-- digests. A part that comes later goes out alone.
create function gather_digests(day date) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp set jit = off as $$
declare gathered bigint;
begin
    with parts as materialized (
        select n.notice_id, n.member_id, n.channel, n.kind, n.facts, n.not_before, n.valid_until,
            count(*) over (partition by n.member_id, n.channel) as together
        from notice n
        inner join notice_queue q on q.notice_id = n.notice_id
        inner join member m on m.member_id = n.member_id
        where n.business_date = gather_digests.day and n.class = 'service' and n.kind <> 'digest'
            and q.attempts = 0 and q.lease_owner is null and not exists (
                select from notice d where d.dedupe_key = format('digest:%s:%s:%s', m.member_no, gather_digests.day, n.channel))
    ), taken as materialized (
        delete from notice_queue q using parts p
        where q.notice_id = p.notice_id and p.together > 1 and q.attempts = 0 and q.lease_owner is null
        returning p.*
    ), digests as (
        insert into notice (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until)
        select t.member_id, 'digest', 'service', t.channel, format('digest:%s:%s:%s', m.member_no, gather_digests.day, t.channel),
            gather_digests.day,
            jsonb_build_object('parts', jsonb_agg(jsonb_build_object('kind', t.kind, 'facts', t.facts) order by t.notice_id)),
            max(t.not_before), min(t.valid_until)
        from taken t
        inner join member m on m.member_id = t.member_id
        group by t.member_id, m.member_no, t.channel
        returning notice_id, member_id, channel, not_before
    ), queued as (
        insert into notice_queue (notice_id, channel, not_before) select notice_id, channel, not_before from digests
    ), bound as (
        insert into digest_part (notice_id, digest_id)
        select t.notice_id, d.notice_id from taken t inner join digests d on d.member_id = t.member_id and d.channel = t.channel
    )
    select count(*) into gathered from digests;
    return gathered;
end $$;

-- Tells a member of an adjustment or reinstatement, in the transaction that posts it.
create function tell_adjustment(member bigint, approval bigint, amount bigint, day date, book date) returns void language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare rule constant notice_policy := (select p from notice_policy p where p.version = version_on(book));
begin
    if 'adjustment' <> all(rule.kinds) then return; end if;
    perform enqueue_notices(array[row(member, 'adjustment', 'transaction', 'adjustment:' || approval,
        jsonb_build_object('points', amount, 'adjusted_on', day, 'balance', w.balance), begins(book, rule.time_zone),
        begins(book + 31, rule.time_zone))::due_notice], book)
    from wallet w where w.member_id = member;
end $$;

revoke execute on function begins(date, text), known_zone(text, text), after_quiet(timestamptz, text, time, time),
    enqueue_notices(due_notice [], date), gather_digests(date), tell_adjustment(bigint, bigint, bigint, date, date) from public;
grant execute on function begins(date, text), known_zone(text, text), after_quiet(timestamptz, text, time, time),
    enqueue_notices(due_notice [], date), gather_digests(date) to loyalty_batch;
