-- Activities (design 6): what members do besides buying, and the bonuses it earned them.

alter table feed_file drop constraint feed_file_feed_check;
alter table feed_file add constraint feed_file_feed_check
check (feed in ('orders', 'redemptions', 'cancellations', 'members', 'activities'));

create table activity (
    activity_no text collate "C" primary key,
    member_no text collate "C" not null,
    activity text collate "C" not null,
    happened_at timestamptz not null,
    effective_on date not null,
    store text,
    channel text,
    fingerprint bytea not null,
    file_id bigint not null references feed_file,
    state text not null default 'waiting' check (state in ('waiting', 'posted', 'refused'))
);
create index activity_waiting on activity (effective_on) where state = 'waiting';
create index activity_of on activity (member_no, activity, effective_on);
comment on table activity is 'What a member did, such as a check-in; refused: nobody had that number on the day.';

create table activity_earning (
    member_id bigint not null,
    rule text collate "C" not null,
    period text collate "C" not null,
    nth int not null check (nth > 0),
    policy_version int not null references policy_version,
    bonus smallint not null,
    activity_no text collate "C" not null references activity,
    points bigint not null check (points > 0),
    lot_seq bigint not null,
    posted_on date not null,
    primary key (member_id, rule, period, nth)
);
comment on table activity_earning is
    'The bonuses that activities earned: the nth of a rule in a period, once, by primary key. activity_no: the one that reached it.';
select make_append_only(array['activity_earning']);

-- The first day and the name of the period that a day belongs to; weeks are those of ISO 8601, Monday to Sunday.
create function period_from(per text, day date) returns date language sql immutable as $$
    select case per when 'day' then day when 'once' then '-infinity'::date else date_trunc(per, day)::date end
$$;
create function period_name(per text, day date) returns text language sql immutable as $$
    select case per
        when 'day' then to_char(day, 'YYYY-MM-DD') when 'week' then to_char(day, 'IYYY-"W"IW') when 'month' then to_char(day, 'YYYY-MM')
        else 'once'
    end
$$;

revoke execute on function period_from(text, date), period_name(text, date) from public;
grant execute on function period_from(text, date), period_name(text, date)
    to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant select on activity, activity_earning to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant insert on activity, activity_earning to loyalty_batch;
grant update (state) on activity to loyalty_batch;
