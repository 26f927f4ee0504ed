-- Contact data (design 14): apart from the ledger, encrypted per member by the importing process. Destroying a row destroys
-- the data, and with it every proof sealed under the same key; the ledger does not notice.

create table contact (
    member_id bigint primary key references member,
    key_wrapped bytea not null,
    key_id text collate "C" not null check (key_id <> ''),
    sealed bytea not null,
    email_mark bytea check (octet_length(email_mark) = 32),
    phone_mark bytea check (octet_length(phone_mark) = 32),
    changed_at timestamptz not null default clock_timestamp()
);
create index contact_by_key on contact (key_id);
create index contact_by_email on contact (email_mark) where email_mark is not null;
create index contact_by_phone on contact (phone_mark) where phone_mark is not null;
comment on table contact is
    'Name, address and number of a member, sealed under a key of this member, which is wrapped under the master key key_id.';
comment on column contact.email_mark is 'HMAC-SHA256 under LOYALTY_CONTACT_KEY of the address in lower case; null: no address.';
comment on column contact.phone_mark is 'HMAC-SHA256 under LOYALTY_CONTACT_KEY of the number''s digits; null: no number.';

create table consent (
    consent_no bigint generated always as identity primary key,
    member_id bigint not null references member,
    class text not null check (class in ('service', 'marketing')),
    channel text not null check (channel in ('email', 'sms', 'any')),
    granted boolean not null,
    source text not null check (source in ('import', 'unsubscribe', 'operator', 'complaint')),
    moment timestamptz not null,
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp()
);
create index consent_of on consent (member_id, class, channel, consent_no desc);
comment on table consent is
    'What members agreed to. Transaction and legal notices need none; no row: service is granted, marketing is not.';
create view consent_now as
select distinct on (member_id, class, channel) member_id, class, channel, granted, source, moment
from consent
order by member_id, class, channel, consent_no desc;

create table suppression (
    suppression_no bigint generated always as identity primary key,
    mark bytea not null check (octet_length(mark) = 32),
    channel text not null check (channel in ('email', 'sms')),
    cause text not null check (cause in ('hard_bounce', 'complaint', 'operator', 'lifted')),
    moment timestamptz not null,
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp()
);
create index suppression_of on suppression (mark, channel, suppression_no);
comment on table suppression is
    'Addresses that nothing is sent to, by their mark: a complaint stops all but legal notices, the others every notice; lifted ends it.';

create table erasure (
    member_id bigint primary key references member,
    moment timestamptz not null,
    actor text not null default session_user,
    reason text not null check (length(btrim(reason)) >= 10),
    recorded_at timestamptz not null default clock_timestamp()
);
comment on table erasure is 'Members whose contact data was destroyed: none is kept of them again. Survives a restore.';

do $$
declare name text;
begin
    foreach name in array array['consent', 'suppression', 'erasure'] loop
        execute format('create trigger append_only before update or delete on points.%I
                        for each row execute function points.refuse_change()', name);
        execute format('create trigger append_only_truncate before truncate on points.%I
                        for each statement execute function points.refuse_change()', name);
        execute format('alter table points.%I enable always trigger append_only', name);
        execute format('alter table points.%I enable always trigger append_only_truncate', name);
    end loop;
end $$;

-- What support sees of it: whether a member can be reached, never where.
create view reachability as
select
    m.member_id, m.member_no, c.email_mark is not null as has_email, c.phone_mark is not null as has_phone, c.changed_at,
    e.moment as erased_at
from member as m
left join contact as c on c.member_id = m.member_id
left join erasure as e on e.member_id = m.member_id;

grant select on contact to loyalty_batch;
grant select on consent, consent_now, suppression, erasure, reachability to loyalty_batch, loyalty_auditor, loyalty_approver;
grant select on consent, consent_now, erasure, reachability to loyalty_support;
