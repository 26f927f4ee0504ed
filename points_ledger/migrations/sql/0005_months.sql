-- Closed and signed months (design 10): the report as it was made, once, and the signature of an auditor under it.

create table month_close (
    month date primary key check (extract(day from month) = 1),
    report text not null,
    report_sha256 text not null,
    deviations int not null generated always as (((report::jsonb) ->> 'deviations')::int) stored,
    code_version text not null,
    closed_by text not null default session_user,
    closed_at timestamptz not null default clock_timestamp(),
    constraint the_hash_is_the_reports check (report_sha256 = encode(sha256(convert_to(report, 'UTF8')), 'hex')),
    constraint a_closed_month_has_no_deviations check (deviations = 0)
);
comment on table month_close is 'The report of a closed month, byte for byte, and its SHA-256. Append-only: a month is closed once.';
create table month_signature (
    month date primary key references month_close,
    report_sha256 text not null,
    signed_by text not null default session_user,
    signed_at timestamptz not null default clock_timestamp()
);
comment on table month_signature is 'The auditor who recomputed the report and found it to be this one. Append-only: from then on the month is frozen.';

select make_append_only(array['month_close', 'month_signature']);

-- Records the report of a month, once. The same report again: nothing happens; another one is refused.
create function close_month(of date, report text, code_version text) returns text language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    fingerprint constant text := encode(sha256(convert_to(close_month.report, 'UTF8')), 'hex');
    last_day constant date := (of + interval '1 month')::date - 1;
    missing date;
    stopping text;
    recorded text;
begin
    lock table month_close in share row exclusive mode;  -- of two at once the second sees what the first recorded
    select c.report_sha256 into recorded from month_close c where c.month = of;
    if found then
        if recorded <> fingerprint then
            raise exception 'the report of % was recorded as %, this one is %', to_char(of, 'YYYY-MM'), recorded, fingerprint
                using errcode = 'PL003';
        end if;
        return recorded;
    end if;
    if (close_month.report::jsonb ->> 'month') is distinct from to_char(of, 'YYYY-MM') then
        raise exception 'this is not the report of %', to_char(of, 'YYYY-MM') using errcode = 'PL009';
    end if;
    select min(d)::date into missing
    from generate_series(greatest(of, (select min(book_date) from book_day)), last_day, interval '1 day') as d
    where not exists (select from seal s where s.book_date = d);
    if missing is not null or not exists (select from seal where book_date = last_day) then
        raise exception 'the night of % is not closed and sealed', coalesce(missing, last_day) using errcode = 'PL001';
    end if;
    select string_agg(check_id, ', ' order by check_id) into stopping from stop_findings(last_day);
    if stopping is not null then
        raise exception 'findings are open that stop: %', stopping using errcode = 'PL050';
    end if;
    insert into month_close (month, report, report_sha256, code_version)
    values (of, close_month.report, fingerprint, close_month.code_version);
    return fingerprint;
end $$;

-- Signs a closed month, as the login that asks: `fingerprint` is what the signer recomputed. Again by the same login:
-- nothing happens. Who closed the month does not sign it.
create function sign_month(of date, fingerprint text) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    closed month_close;
    signer text;
begin
    select * into closed from month_close where month = of;
    if not found then
        raise exception '% is not closed: its report was not recorded', to_char(of, 'YYYY-MM') using errcode = 'PL005';
    end if;
    if closed.report_sha256 is distinct from fingerprint then
        raise exception 'the report of % was recorded as %, recomputed it is %', to_char(of, 'YYYY-MM'), closed.report_sha256, fingerprint
            using errcode = 'PL003';
    end if;
    if closed.closed_by = session_user then
        raise exception '% closed %, and another login signs it', session_user, to_char(of, 'YYYY-MM') using errcode = 'PL051';
    end if;
    insert into month_signature (month, report_sha256) values (of, fingerprint) on conflict do nothing;
    select signed_by into signer from month_signature where month = of;  -- after it: another may have signed at the same time
    if signer <> session_user then
        raise exception '% was signed by % already', to_char(of, 'YYYY-MM'), signer using errcode = 'PL007';
    end if;
end $$;

-- What a signed month can be shown from: the last good backup taken in it, and the first one that holds its signature.
create view signed_month_backup as
select s.month, b.backup_id
from month_signature as s
cross join lateral (
    (select backup_id from backup
    where state in ('complete', 'proven') and taken_at >= s.month and taken_at < s.month + interval '1 month'
    order by taken_at desc, backup_id limit 1)
    union
    (select backup_id from backup where state in ('complete', 'proven') and taken_at >= s.signed_at order by taken_at, backup_id limit 1)
) as b;
comment on view signed_month_backup is 'The backups that retention never removes: one of each signed month, and one with its signature.';
create function keep_signed_month_backup() returns trigger language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    signed date;
begin
    select month into signed from signed_month_backup where backup_id = new.backup_id order by month limit 1;
    if found then
        raise exception 'backup %: % is signed, and this is its last backup', new.backup_id, to_char(signed, 'YYYY-MM')
            using errcode = 'PL060';
    end if;
    return new;
end $$;
create trigger keep_signed_month before insert on backup_event
for each row when (new.what = 'pruning') execute function keep_signed_month_backup();

revoke execute on function close_month(date, text, text), sign_month(date, text), keep_signed_month_backup() from public;
grant select on signed_month_backup to loyalty_batch, loyalty_auditor, loyalty_approver;
grant select on month_close, month_signature to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function close_month(date, text, text) to loyalty_batch;
-- the one thing an auditor writes
grant execute on function sign_month(date, text) to loyalty_auditor;
