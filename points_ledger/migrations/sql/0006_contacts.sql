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

select make_append_only(array['consent', 'suppression', 'erasure']);

-- What support sees of it: whether a member can be reached, never where.
create view reachability as
select
    m.member_id, m.member_no, c.email_mark is not null as has_email, c.phone_mark is not null as has_phone, c.changed_at,
    e.moment as erased_at
from member as m
left join contact as c on c.member_id = m.member_id
left join erasure as e on e.member_id = m.member_id;

-- What an import keeps of its members: each a contact sealed elsewhere; an erased member's is not kept. No name, address and
-- number any more: the row stays, so that proofs stay readable. Returns how many were kept.
create function keep_contacts(
    members bigint [], keys bytea [], key_ids text [], sealed bytea [], email_marks bytea [], phone_marks bytea []
) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare kept bigint;
begin
    -- an erasure of one of them waits for this, or this for it; the next statement sees which
    perform from member m where m.member_id = any(members) order by m.member_id for key share;
    insert into contact as c (member_id, key_wrapped, key_id, sealed, email_mark, phone_mark)
    select n.* from unnest(members, keys, key_ids, keep_contacts.sealed, email_marks, phone_marks)
        as n (member_id, key_wrapped, key_id, sealed, email_mark, phone_mark)
    where not exists (select from erasure e where e.member_id = n.member_id)
    order by n.member_id
    on conflict (member_id) do update set key_wrapped = excluded.key_wrapped, key_id = excluded.key_id, sealed = excluded.sealed,
        email_mark = excluded.email_mark, phone_mark = excluded.phone_mark, changed_at = clock_timestamp();
    get diagnostics kept = row_count;
    return kept;
end $$;

-- The marks by which the fraud screens see who shares a contact; of an erased member none is kept. Returns how many were.
create function remember_contacts(numbers text [], fingerprints bytea []) returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare kept bigint;
begin
    perform from member m where m.member_no = any(numbers) order by m.member_id for key share;
    insert into member_contact (member_id, fingerprint)
    select m.member_id, c.fingerprint from unnest(numbers, fingerprints) as c (member_no, fingerprint)
    inner join member m on m.member_no = c.member_no
    where not exists (select from erasure e where e.member_id = m.member_id)
    order by m.member_id
    on conflict (member_id) do update set fingerprint = excluded.fingerprint;
    get diagnostics kept = row_count;
    return kept;
end $$;

-- Members' keys wrapped anew, under another master key. A member who was erased or imported again meanwhile is left alone.
create function rewrap_contacts(members bigint [], known bytea [], keys bytea [], to_key_id text) returns bigint
language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare changed bigint;
begin
    update contact c set key_wrapped = n.key_wrapped, key_id = to_key_id
    from unnest(members, known, keys) as n (member_id, known, key_wrapped)
    where c.member_id = n.member_id and c.key_wrapped = n.known;
    get diagnostics changed = row_count;
    return changed;
end $$;

-- Destroys what is known of a member besides the ledger: the contact with its key, and the mark of the fraud screens. Again:
-- nothing happens, the first reason stays. Returns whether it was done now.
create function erase_member(member_no text, reason text, moment timestamptz) returns boolean language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare member constant bigint := member_by_no(member_no);
begin
    perform refuse_short_reason(reason);
    perform from wallet w where w.member_id = member for no key update;
    perform from member m where m.member_id = member for update;
    return erase(member, erase_member.reason, erase_member.moment, session_user);
end $$;

create function erase(member bigint, reason text, moment timestamptz, actor text) returns boolean language plpgsql
set search_path = pg_catalog, points, pg_temp as $$
declare is_new boolean;
begin
    insert into erasure (member_id, moment, actor, reason) values (member, erase.moment, erase.actor, erase.reason)
    on conflict do nothing;
    is_new := found;
    delete from contact c where c.member_id = member;
    delete from member_contact c where c.member_id = member;
    return is_new;
end $$;

-- Erasures of the time after a backup, done again in its copy, by the one who restores. A number that belongs to no member or
-- to another one in the copy is passed by: what it named came after the backup. Returns the members that are erased now.
create function repeat_erasures(members bigint [], numbers bytea [], moments timestamptz [], actors text [], reasons text [])
returns bigint language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare repeated bigint;
begin
    select count(erase(m.member_id, n.reason, n.moment, n.actor)) into repeated
    from unnest(members, numbers, moments, actors, reasons) as n (member_id, number_sha256, moment, actor, reason)
    join member m on m.member_id = n.member_id and sha256(convert_to(m.member_no, 'UTF8')) = n.number_sha256;
    return repeated;
end $$;

revoke execute on function remember_contacts(text [], bytea []),
    keep_contacts(bigint [], bytea [], text [], bytea [], bytea [], bytea []),
    rewrap_contacts(bigint [], bytea [], bytea [], text), erase_member(text, text, timestamptz), erase(bigint, text, timestamptz, text),
    repeat_erasures(bigint [], bytea [], timestamptz [], text [], text []) from public;
grant execute on function remember_contacts(text [], bytea []),
    keep_contacts(bigint [], bytea [], text [], bytea [], bytea [], bytea []),
    rewrap_contacts(bigint [], bytea [], bytea [], text), erase_member(text, text, timestamptz) to loyalty_batch;
-- of consent, what a person or a file says; the login that says it is recorded
grant insert (member_id, class, channel, granted, source, moment) on consent to loyalty_batch;
grant insert (mark, channel, cause, moment) on suppression to loyalty_batch;
grant select on contact to loyalty_batch;
grant select on consent, consent_now, suppression, erasure, reachability to loyalty_batch, loyalty_auditor, loyalty_approver;
grant select on consent, consent_now, erasure, reachability to loyalty_support;
