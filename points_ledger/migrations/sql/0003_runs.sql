-- What a night left undone on purpose, and up to which close lapsed points are cleared.

alter table run
add column withheld jsonb check (jsonb_typeof(withheld) = 'object'),
add column cleared_at timestamptz;
comment on column run.withheld is 'Checks whose open findings kept this run from taking points away: rows by check. The next night catches up.';
comment on column run.cleared_at is 'When the lots due at this close were cleared.';
update run set cleared_at = finished_at where job = 'close-night' and status = 'done';

-- The last close whose lapsed lots are cleared, that is, all of them up to its day: nothing older may be due.
create function cleared_through() returns date language plpgsql stable
set search_path = pg_catalog, points, pg_temp as $$
begin
    return (
        select business_date from run where job = 'close-night' and cleared_at is not null
        order by business_date desc limit 1);
end $$;

revoke execute on function cleared_through() from public;
grant execute on function cleared_through() to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
-- the rules of a posting, for the check that asks them again of every entry
grant execute on function broken_rule(text, smallint, bigint, bigint, bigint, bigint, date, date, int, bigint, bigint, text, text)
    to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant update (withheld, cleared_at) on run to loyalty_batch;
