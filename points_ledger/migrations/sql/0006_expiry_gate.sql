-- No notice, no expiry (design 2.6): what a version says of notices, which due lots have their proof, and the record of those
-- whose last day moves because they have none.

-- What each version says of notices; without [notices] it names no kind and no channel.
create view notice_policy as
select
    version,
    document #>> '{programme,time_zone}' as time_zone,
    (document #>> '{programme,point_value}')::numeric as point_value,
    array(select jsonb_array_elements_text(document #> '{notices,channels}')) as channels,
    array(select jsonb_array_elements_text(document #> '{notices,kinds}')) as kinds,
    coalesce((document #>> '{notices,quiet_hours,0}')::time, '00:00') as quiet_from,
    coalesce((document #>> '{notices,quiet_hours,1}')::time, '00:00') as quiet_to,
    coalesce((document #>> '{notices,marketing_per_30_days}')::int, 0) as marketing_per_30_days,
    coalesce((document #>> '{notices,win_back_months}')::int, 0) as win_back_months,
    array(select x::int from jsonb_array_elements_text(document #> '{expiry,notice,ladder_days}') as x order by x::int) as ladder,
    coalesce((document #>> '{expiry,notice,min_days}')::int, 30) as min_days
from policy_version;

-- What each version asks before points lapse. A view of its own, because a simulation counts everybody as told.
create view expiry_gate as
select
    version,
    coalesce((document #>> '{expiry,notice,required}')::boolean, false) as required,
    coalesce((document #>> '{expiry,notice,min_days}')::int, 30) as min_days,
    coalesce(document #>> '{expiry,notice,unreachable}', 'defer') as unreachable,
    array(select jsonb_array_elements_text(document #> '{notices,channels}')) as channels
from policy_version;

-- The channel on which a member gets notices of a class: the first of `channels` with an address that nothing stops; no row: none.
-- Inlined, so that many are asked at once; what consent and suppression mean is asked only where there is a word of them.
create function reach(member bigint, class text, channels text []) returns table (channel text) language sql stable as $$
    select c.channel
    from unnest(reach.channels) with ordinality as c (channel, place)
    inner join points.contact as k on k.member_id = reach.member
    where case c.channel when 'email' then k.email_mark else k.phone_mark end is not null
        and case when reach.class = 'marketing' or exists (select from points.consent as s where s.member_id = reach.member)
            then points.has_consent(reach.member, reach.class, c.channel) else true end
        and case when exists (
            select from points.suppression as s
            where s.mark = case c.channel when 'email' then k.email_mark else k.phone_mark end and s.channel = c.channel)
            then points.suppressed_by(case c.channel when 'email' then k.email_mark else k.phone_mark end, c.channel, reach.class) is null
            else true end
    order by c.place limit 1
$$;

-- The lots that are due at the close of a day (due_lots), and what becomes of each: `clear`; `unannounced`, cleared although nothing
-- reaches the member; or why it is deferred. Judged by the version in force on the closed day. In time is a notice that named the
-- lot's last day and was accepted at least min_days before it.
create function gated_lots(closed date) returns table (member_id bigint, lot_seq bigint, remaining bigint, last_day date, fate text)
language sql stable as $$
    -- once: the array is no argument that reach can be inlined with, and the document would be read for every lot
    with rule as materialized (
        select g.* from points.expiry_gate as g where g.version = (select points.version_on(closed))
    )
    select d.member_id, d.lot_seq, d.remaining, d.last_day,
        case
            when not r.required or w.accepted_on <= d.last_day - r.min_days then 'clear'
            when exists (select from points.reach(d.member_id, 'service', r.channels))
                then case when w.accepted_on is null then 'no_notice' else 'too_late' end
            when r.unreachable = 'expire' then 'unannounced'
            else 'unreachable'
        end
    from points.due_lots(closed) as d
    cross join rule as r
    left join points.expiry_warning as w on w.member_id = d.member_id and w.lapses_on = d.last_day
$$;

create table lot_deferral (
    member_id bigint not null,
    lot_seq bigint not null,
    from_date date not null,
    to_date date not null,
    business_date date not null,
    points bigint not null check (points > 0),
    why text not null check (why in ('no_notice', 'too_late', 'unreachable')),
    run_id bigint,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (member_id, lot_seq, from_date),
    foreign key (member_id, lot_seq) references lot,
    constraint deferred_to_a_later_day check (from_date <= business_date and business_date < to_date)
);
create index lot_deferral_by_day on lot_deferral (business_date);
create index lot_deferral_to on lot_deferral (to_date);
comment on table lot_deferral is
    'Lots whose last day moved at the close of a day, because no notice that named it was accepted in time. points: what was left.';
create table unannounced_expiry (
    member_id bigint not null,
    lot_seq bigint not null,
    last_day date not null,
    business_date date not null,
    points bigint not null check (points > 0),
    run_id bigint,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (member_id, lot_seq),
    foreign key (member_id, lot_seq) references lot
);
create index unannounced_expiry_by_day on unannounced_expiry (business_date);
comment on table unannounced_expiry is 'Lots that lapsed without a notice, because no channel reached the member and the programme says expire.';

select make_append_only(array['lot_deferral', 'unannounced_expiry']);

-- Moves the lots of new deferrals, or refuses them all. A deferred lot has a fixed last day, also when it lapsed by inactivity.
create function apply_deferrals() returns trigger language plpgsql security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
    asked constant bigint := (select count(*) from new_rows);
    done bigint;
begin
    update lot l
    set valid_through = d.to_date, idle_by = null
    from new_rows d
    inner join wallet w on w.member_id = d.member_id
    inner join expiry_gate r on r.version = version_on(d.business_date)
    where l.member_id = d.member_id and l.lot_seq = d.lot_seq and l.is_open and l.held = 0 and l.remaining = d.points
        and last_day(l.valid_through, w.active_on, l.idle_by) = d.from_date and d.business_date <= last_closed()
        and r.required and d.to_date = d.business_date + 1 + r.min_days + 2;
    get diagnostics done = row_count;
    if done <> asked then
        raise exception '% of % deferrals: the lot is not due, or is held', asked - done, asked using errcode = 'PL011';
    end if;
    return null;
end $$;
create trigger apply_deferrals after insert on lot_deferral
referencing new table as new_rows for each statement execute function apply_deferrals();

-- Defers the due lots of some members that have no proof of notice; records those that lapse unannounced. The caller has locked the
-- wallets. What is due after it may be cleared. The new day leaves min_days and two days more, for a night that is late.
-- Returns the lots it deferred. Safe to repeat: a deferred lot is not due.
create function defer_unwarned(members bigint [], closed date, run bigint) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare
    rule constant expiry_gate := (select g from expiry_gate g where g.version = version_on(closed));
    deferred bigint;
begin
    if not rule.required then return 0; end if;
    with gated as materialized (
        select g.* from gated_lots(closed) as g where g.member_id = any(members) and g.fate <> 'clear'
    ), unannounced as (
        insert into unannounced_expiry (member_id, lot_seq, last_day, business_date, points, run_id)
        select member_id, lot_seq, last_day, closed, remaining, run from gated where fate = 'unannounced'
        on conflict do nothing
    ), moved as (
        insert into lot_deferral (member_id, lot_seq, from_date, to_date, business_date, points, why, run_id)
        select member_id, lot_seq, last_day, closed + 1 + rule.min_days + 2, closed, remaining, fate, run
        from gated where fate <> 'unannounced'
        returning 1
    )
    select count(*) into deferred from moved;
    return deferred;
end $$;

-- What the lots of the ledger became by their deferrals, for those that have any.
create view deferred_lot as
select member_id, lot_seq, max(to_date) as to_date from lot_deferral group by member_id, lot_seq;

revoke execute on function reach(bigint, text, text []), gated_lots(date), apply_deferrals(),
    defer_unwarned(bigint [], date, bigint) from public;
grant select on notice_policy, expiry_gate, lot_deferral, unannounced_expiry, deferred_lot
    to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function reach(bigint, text, text []), gated_lots(date), has_consent(bigint, text, text),
    suppressed_by(bytea, text, text), defer_unwarned(bigint [], date, bigint) to loyalty_batch;
