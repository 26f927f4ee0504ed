-- Backups (design 12): what is known of each, as events that are only ever added, and the login that takes them.
--
-- The bucket holds the truth, a signed manifest per backup; this catalogue is an index of it, and what was found out since.

create table backup_event (
    event_no bigint generated always as identity primary key,
    backup_id uuid not null,
    what text not null check (what in ('begun', 'complete', 'failed', 'verified', 'damaged', 'proven', 'refuted', 'pruning', 'pruned')),
    facts jsonb not null default '{}',
    message text,
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp()
);
create unique index backup_event_once on backup_event (backup_id, what) where what in ('begun', 'complete', 'failed', 'pruning', 'pruned');
comment on table backup_event is 'What happened to each backup. Append-only; the view backup says what it comes to.';
select make_append_only(array['backup_event']);

-- taken_at is the moment of the snapshot. A backup is whole once its manifest stood in the bucket, proven once it was
-- restored and verified, and in doubt when the last look at it (a verification, a drill) found it wrong.
create view backup as
select backup_id, begun_at, (done.facts ->> 'taken_at')::timestamptz as taken_at, done.facts,
    case when pruned then 'pruned' when pruning then 'pruning' when done.facts is null then case when failed then 'failed' else 'running' end
        when doubt.what in ('damaged', 'refuted') then 'in doubt' when proven_at is not null then 'proven'
        else 'complete' end as state,
    verified_at, proven_at, message
from (
    select backup_id, min(recorded_at) as begun_at, bool_or(what = 'failed') as failed, bool_or(what = 'pruning') as pruning,
        bool_or(what = 'pruned') as pruned, max(recorded_at) filter (where what in ('verified', 'proven')) as verified_at,
        max(recorded_at) filter (where what = 'proven') as proven_at,
        (array_agg(message order by event_no desc) filter (where message is not null)) [1] as message
    from backup_event
    group by backup_id
) as b
left join lateral (select facts from backup_event where backup_id = b.backup_id and what = 'complete') as done on true
left join lateral (
    select what from backup_event
    where backup_id = b.backup_id and what in ('verified', 'damaged', 'proven', 'refuted') order by event_no desc limit 1
) as doubt on true;
comment on view backup is 'Each backup, and what is known of it now.';

-- Whatever a plan says: what begins is begun once, and the newest backup that was ever proven stays.
create function guard_backup_event() returns trigger language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare
    known text;
begin
    perform pg_advisory_xact_lock(20266, 1);  -- one event at a time: two prunes must not each leave the other's last
    select state into known from backup where backup_id = new.backup_id;
    if (known is null) <> (new.what = 'begun')
        or (new.what in ('complete', 'failed') and known <> 'running')
        or (new.what in ('verified', 'damaged', 'proven', 'refuted', 'pruning') and known not in ('complete', 'in doubt', 'proven'))
        or (new.what = 'pruned' and known <> 'pruning') then
        raise exception 'backup % is %: it cannot be %', new.backup_id, coalesce(known, 'unknown'), new.what using errcode = 'PL009';
    end if;
    if new.what = 'pruning' and not exists (
        select from backup as newer
        where newer.state = 'proven' and newer.backup_id <> new.backup_id
            and newer.taken_at >= (select taken_at from backup where backup_id = new.backup_id)
    ) then
        raise exception 'backup %: no backup of its time or newer is proven', new.backup_id using errcode = 'PL060';
    end if;
    return new;
end $$;
create trigger guard before insert on backup_event for each row execute function guard_backup_event();
revoke execute on function guard_backup_event() from public;

grant select on backup_event, backup to loyalty_batch, loyalty_auditor, loyalty_approver;
grant insert (backup_id, what, facts, message) on backup_event to loyalty_batch;

-- Reads everything, whatever is added later, and changes nothing: pg_dump needs no more.
grant usage on schema points to loyalty_backup;
grant select on all tables in schema points to loyalty_backup;
grant select on all sequences in schema points to loyalty_backup;
alter default privileges for role loyalty_owner in schema points grant select on tables to loyalty_backup;
alter default privileges for role loyalty_owner in schema points grant select on sequences to loyalty_backup;
