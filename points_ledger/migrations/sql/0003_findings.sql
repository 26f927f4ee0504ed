-- The checks' own books (design 9): every run of checks, what each check answered, and findings with a life. Not to be
-- confused with `finding`, which holds rows of feeds that were not accepted and events that moved no points.

create table check_run (
    check_run_id bigint generated always as identity primary key,
    as_of date not null,
    form text not null check (form in ('full', 'night')),
    engine text not null check (engine in ('bare', 'great_expectations')),
    run_id bigint references run,
    snapshot text not null,
    code_version text not null,
    flow_run_id text,
    started_by text not null default session_user,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp()
);
comment on table check_run is 'One execution of checks: the dates they were bound to and the snapshot they all read. form night: what a night touched.';
create index check_run_as_of on check_run (as_of);

create table check_result (
    check_run_id bigint not null references check_run,
    check_id text not null,
    severity text not null check (severity in ('stop', 'warn')),
    is_full boolean not null,
    outcome text not null check (outcome in ('pass', 'fail', 'error')),
    offending bigint not null check (offending >= 0),
    error text,
    sql_sha256 text not null,
    milliseconds int not null,
    primary key (check_run_id, check_id),
    constraint a_check_fails_with_rows check ((outcome = 'fail') = (offending > 0)),
    constraint an_error_says_what check ((outcome = 'error') = (error is not null))
);
comment on table check_result is 'What each check of a run answered. error: it could not run, which says nothing about the data.';

create table incident (
    incident_id bigint generated always as identity primary key,
    check_id text not null,
    severity text not null check (severity in ('stop', 'warn')),
    owner text not null,
    last_outcome text not null check (last_outcome in ('fail', 'error')),
    message text,
    offending bigint not null,
    worst bigint not null,
    runs int not null default 1,
    opened_on date not null,
    opened_by bigint not null references check_run,
    last_on date not null,
    last_run bigint not null references check_run,
    closed_on date,
    closed_by bigint references check_run,
    acknowledged_by text,
    acknowledged_at timestamptz,
    muted_by text,
    muted_until date,
    muted_why text check (length(btrim(muted_why)) >= 10),
    check ((closed_on is null) = (closed_by is null)),
    check ((muted_by is null) = (muted_until is null) and (muted_by is null) = (muted_why is null))
);
create unique index incident_one_open on incident (check_id) where closed_by is null;
comment on table incident is 'A check that is not green, from the run that found it to the one that did not: one open for each check.';

create table check_finding (
    finding_no bigint generated always as identity primary key,
    check_id text not null,
    severity text not null check (severity in ('stop', 'warn')),
    key jsonb not null check (jsonb_typeof(key) = 'object'),
    difference text not null,
    first_seen date not null,
    first_run bigint not null references check_run,
    last_seen date not null,
    last_run bigint not null references check_run,
    cleared_on date,
    cleared_by bigint references check_run,
    waived_by text,
    waived_at timestamptz,
    waived_until date,
    waived_why text check (length(btrim(waived_why)) >= 10),
    check (last_seen >= first_seen),
    check ((cleared_on is null) = (cleared_by is null)),
    check ((waived_by is null) = (waived_until is null) and (waived_by is null) = (waived_why is null))
);
create unique index check_finding_one_open on check_finding (check_id, key) where cleared_by is null;
comment on table check_finding is 'A row that a check found: one life for each time it appears. Waived: accepted by a person until a day, with the reason.';

select make_append_only(array['check_run', 'check_result']);

do $$
declare name text;
begin
    foreach name in array array['check_finding', 'incident'] loop
        execute format('create trigger never_deleted before delete on points.%I
                        for each row execute function points.refuse_change()', name);
        execute format('create trigger append_only_truncate before truncate on points.%I
                        for each statement execute function points.refuse_change()', name);
    end loop;
end $$;

-- Records one run of checks, all or nothing. answers: [{check_id, severity, owner, is_full, outcome, offending, error,
-- sql_sha256, milliseconds, rows: [{key, difference}]}]; rows may be fewer than offending.
-- A finding that is open already is seen again, not found again. Only a full check that saw all its rows, bound to the day
-- a finding was last seen on or a later one, clears what it no longer sees; a check that could not run clears nothing.
create function record_checks(
    day date, form text, engine text, night bigint, snapshot text, code_version text, flow_run text, started timestamptz,
    answers jsonb
) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    this bigint;
    failed boolean;
begin
    perform pg_advisory_xact_lock(20266, 0);  -- runs are recorded one after the other
    insert into check_run (as_of, form, engine, run_id, snapshot, code_version, flow_run_id, started_at)
    values (day, form, engine, night, snapshot, code_version, flow_run, started)
    returning check_run_id into this;
    insert into check_result (check_run_id, check_id, severity, is_full, outcome, offending, error, sql_sha256, milliseconds)
    select this, a.check_id, a.severity, a.is_full, a.outcome, a.offending, a.error, a.sql_sha256, a.milliseconds
    from jsonb_to_recordset(answers) as a (check_id text, severity text, is_full boolean, outcome text, offending bigint,
        error text, sql_sha256 text, milliseconds int);
    failed := exists (select from check_result r where r.check_run_id = this and r.outcome <> 'pass');
    if not failed and not exists (select from incident where closed_by is null) then return this; end if;

    insert into check_finding as f (check_id, severity, key, difference, first_seen, first_run, last_seen, last_run)
    select a.check_id, a.severity, r.key, min(r.difference), day, this, day, this
    from jsonb_to_recordset(answers) as a (check_id text, severity text, rows jsonb)
    cross join lateral jsonb_to_recordset(a.rows) as r (key jsonb, difference text)
    group by a.check_id, a.severity, r.key
    order by a.check_id, r.key
    on conflict (check_id, key) where cleared_by is null do update
    set last_seen = greatest(f.last_seen, excluded.last_seen), last_run = excluded.last_run, difference = excluded.difference,
        severity = excluded.severity;

    update check_finding f set cleared_on = day, cleared_by = this
    from jsonb_to_recordset(answers) as a (check_id text, is_full boolean, outcome text, offending bigint, rows jsonb)
    where f.check_id = a.check_id and a.is_full and a.outcome <> 'error' and a.offending <= jsonb_array_length(a.rows)
        and f.cleared_by is null and f.last_run <> this and f.last_seen <= day;

    insert into incident as i (check_id, severity, owner, last_outcome, message, offending, worst, opened_on, opened_by, last_on,
        last_run)
    select a.check_id, a.severity, a.owner, a.outcome, coalesce(a.error, a.rows -> 0 ->> 'difference'), a.offending, a.offending,
        day, this, day, this
    from jsonb_to_recordset(answers) as a (check_id text, severity text, owner text, outcome text, error text, offending bigint,
        rows jsonb)
    where a.outcome <> 'pass'
    on conflict (check_id) where closed_by is null do update
    set severity = excluded.severity, owner = excluded.owner, last_outcome = excluded.last_outcome, message = excluded.message,
        offending = case when excluded.last_outcome = 'fail' then excluded.offending else i.offending end,
        worst = greatest(i.worst, excluded.worst), runs = i.runs + 1, last_on = greatest(i.last_on, day), last_run = this;

    update incident i set closed_on = day, closed_by = this
    from check_result r
    where r.check_run_id = this and r.outcome = 'pass' and r.check_id = i.check_id and i.closed_by is null
        and not exists (select from check_finding f where f.check_id = i.check_id and f.cleared_by is null);
    return this;
end $$;

-- The checks that keep a night of `day` from taking points away: open stop findings that nobody waived for that day, and
-- stop checks that found more rows than are known one by one, which therefore nobody can have waived.
create function stop_findings(day date) returns table (check_id text, findings bigint, since date) language sql stable
set search_path = pg_catalog, points, pg_temp as $$
    select i.check_id, greatest(coalesce(f.not_waived, 0), i.offending - coalesce(f.n, 0)), coalesce(f.since, i.opened_on)
    from incident i
    left join lateral (
        select count(*) as n, count(*) filter (where coalesce(waived_until < day, true)) as not_waived,
            min(first_seen) filter (where coalesce(waived_until < day, true)) as since
        from check_finding f where f.check_id = i.check_id and f.cleared_by is null
    ) as f on true
    where i.closed_by is null and i.severity = 'stop' and (f.not_waived > 0 or i.offending > coalesce(f.n, 0))
    order by i.check_id
$$;

-- Accepts a finding until a day, as the login that asks: the night goes on in spite of it. Again: the later word counts.
create function waive_finding(no bigint, through date, why text) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    if through is null or why is null or length(btrim(why)) < 10 then
        raise exception 'a waiver needs its last day and a reason of at least 10 letters' using errcode = 'PL009';
    end if;
    update check_finding set waived_by = session_user, waived_at = clock_timestamp(), waived_until = through, waived_why = why
    where finding_no = no and cleared_by is null;
    if not found then raise exception 'finding % is not open', no using errcode = 'PL005'; end if;
end $$;

-- Says who looks after the open incident of a check. Again: the first one stays.
create function acknowledge_incident(which text) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    update incident set acknowledged_by = coalesce(acknowledged_by, session_user),
        acknowledged_at = coalesce(acknowledged_at, clock_timestamp())
    where check_id = which and closed_by is null;
    if not found then raise exception 'check % has no open incident', which using errcode = 'PL005'; end if;
end $$;

-- No alerts for the open incident of a check until a day. What the finding keeps from happening stays kept.
create function mute_incident(which text, through date, why text) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
begin
    if through is null or why is null or length(btrim(why)) < 10 then
        raise exception 'silence needs its last day and a reason of at least 10 letters' using errcode = 'PL009';
    end if;
    update incident set muted_by = session_user, muted_until = through, muted_why = why where check_id = which and closed_by is null;
    if not found then raise exception 'check % has no open incident', which using errcode = 'PL005'; end if;
end $$;

revoke execute on function record_checks(date, text, text, bigint, text, text, text, timestamptz, jsonb), stop_findings(date),
    waive_finding(bigint, date, text), acknowledge_incident(text), mute_incident(text, date, text) from public;
grant select on check_run, check_result, check_finding, incident to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function record_checks(date, text, text, bigint, text, text, text, timestamptz, jsonb) to loyalty_batch;
grant execute on function stop_findings(date) to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function acknowledge_incident(text), mute_incident(text, date, text) to loyalty_batch, loyalty_approver;
-- a waiver lets a night take points in spite of a finding: not the login that runs the night
grant execute on function waive_finding(bigint, date, text) to loyalty_approver;
