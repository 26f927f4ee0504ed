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
create index notice_queue_due on notice_queue (channel, not_before);
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
comment on table notice_result is 'What became of each attempt. No personal data.';
create table notice_proof (
    notice_id bigint not null,
    attempt smallint not null,
    sealed bytea not null,
    template_version text not null,
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

do $$
declare name text;
begin
    foreach name in array array['notice', 'digest_part', 'notice_result', 'notice_proof', 'expiry_warning'] loop
        execute format('create trigger append_only before update or delete on points.%I
                        for each row execute function points.refuse_change()', name);
        execute format('create trigger append_only_truncate before truncate on points.%I
                        for each statement execute function points.refuse_change()', name);
        execute format('alter table points.%I enable always trigger append_only', name);
        execute format('alter table points.%I enable always trigger append_only_truncate', name);
    end loop;
end $$;

grant select on notice, digest_part, notice_queue, notice_result, notice_proof, expiry_warning, dispatcher_identity, provider_rate
    to loyalty_batch, loyalty_auditor;
grant select on notice, digest_part, notice_queue, notice_result, expiry_warning to loyalty_support, loyalty_approver;
grant insert (member_id, kind, class, channel, dedupe_key, business_date, facts, not_before, valid_until) on notice to loyalty_batch;
grant insert (notice_id, digest_id) on digest_part to loyalty_batch;
grant insert (notice_id, channel, not_before) on notice_queue to loyalty_batch;
