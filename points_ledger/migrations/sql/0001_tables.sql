-- The ledger's tables (design 5.1). Everything is owned by loyalty_owner, which nobody can log in as.
--
-- Only `entry` is written by the verbs. `wallet` and `lot` are projections that the trigger of
-- 0001_guards.sql moves in the same statement, so no login needs the right to change them.

create table entry_kind (
    kind text primary key,
    debit text not null,
    credit text not null,
    sign smallint not null check (sign in (-1, 0, 1)),
    debt_sign smallint not null check (debt_sign in (-1, 0, 1)),
    check (debit <> credit),
    check ((sign = 1) = (credit = 'wallet')),
    check ((sign = -1) = (debit = 'wallet')),
    check ((debt_sign = 1) = (debit = 'debt')),
    check ((debt_sign = -1) = (credit = 'debt'))
);
comment on table entry_kind is 'The only legal postings: one debit, one credit. sign moves the balance, debt_sign the debt.';
insert into entry_kind (kind, debit, credit, sign, debt_sign) values
    ('earn',           'issued',   'wallet',    1,  0),
    ('spend',          'wallet',   'redeemed', -1,  0),
    ('spend_reversal', 'redeemed', 'wallet',    1,  0),
    ('claw_back',      'wallet',   'returned', -1,  0),
    ('expire',         'wallet',   'expired',  -1,  0),
    ('reinstate',      'expired',  'wallet',    1,  0),
    ('transfer_out',   'wallet',   'transfer', -1,  0),
    ('transfer_in',    'transfer', 'wallet',    1,  0),
    ('adjust_up',      'adjusted', 'wallet',    1,  0),
    ('adjust_down',    'wallet',   'adjusted', -1,  0),
    ('owe',            'debt',     'returned',  0,  1),
    ('repay',          'wallet',   'debt',     -1, -1);

-- The programme, as immutable numbered versions ----------------------------------------------------------

create table policy_version (
    version int primary key check (version > 0),
    effective_from date not null,
    document jsonb not null,
    sha256 text not null,
    added_by text not null default session_user,
    added_at timestamptz not null default clock_timestamp()
);
create table policy_rule (
    version int not null references policy_version,
    kind text not null check (kind in ('rate', 'multiplier')),
    position smallint not null check (position > 0),
    name text,
    amount numeric not null check (amount >= 0),
    skus text [] collate "C",
    exclude_skus text [] collate "C",
    categories text [] collate "C",
    stores text [] collate "C",
    channels text [] collate "C",
    weekdays smallint [],
    from_on date,
    through_on date,
    min_order_amount numeric,
    primary key (version, kind, position)
);
comment on column policy_rule.amount is 'points per 1.00 of currency of a rate; factor of a multiplier';

-- Members and their projections ---------------------------------------------------------------------------

create table member (
    member_id bigint generated always as identity primary key,
    member_no text collate "C" not null unique check (member_no <> ''),
    status text not null default 'active' check (status in ('active', 'closed')),
    joined_on date not null,
    locale text,
    time_zone text,
    groups text [] not null default '{}',
    birthday_md text check (birthday_md ~ '^(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$')
);
create table wallet (
    member_id bigint primary key references member,
    balance bigint not null default 0,
    held bigint not null default 0,
    debt bigint not null default 0,
    seq bigint not null default 0,
    last_book date not null default '-infinity',
    active_on date,
    -- one CHECK of few comparisons, because Postgres reads it anew for every statement; so is the lot's
    constraint nothing_negative_and_held_within_balance check (held >= 0 and held <= balance and debt >= 0 and seq >= 0)
) with (fillfactor = 70);
comment on table wallet is 'A member''s balance; its row lock is the member''s mutex.';
comment on column wallet.active_on is
    'The last qualifying activity (earn, spend) since the member got points that lapse by inactivity; null before.';
create table lot (
    member_id bigint not null,
    lot_seq bigint not null,
    points bigint not null,
    remaining bigint not null,
    held bigint not null default 0,
    expired bigint not null default 0,
    effective_on date not null,
    usable_from date not null,
    valid_through date,
    idle_by int references policy_version,
    origin text not null,
    is_open boolean generated always as (remaining > 0) stored,
    primary key (member_id, lot_seq),
    constraint parts_within_points check (points > 0 and held >= 0 and held <= remaining and expired >= 0 and remaining + expired <= points)
) with (fillfactor = 80);
comment on column lot.idle_by is
    'The version by which these points lapse when the member is inactive, whatever valid_through says; null = they do not.';
-- is_open, not remaining, is in the predicates: a spend that leaves the lot open stays a HOT update
create index lot_due on lot (valid_through, member_id) where is_open;
create index lot_spending_order on lot (member_id, valid_through, lot_seq) where is_open;

-- The ledger ----------------------------------------------------------------------------------------------

-- What a column of an entry has to keep is its domain's: a session reads that once, where it reads the CHECK of a table anew
-- for every statement that inserts.
create domain above_zero as bigint check (value > 0);
create domain not_negative as bigint check (value >= 0);
create domain sha256 as bytea check (octet_length(value) = 32);

create table book_day (
    book_date date primary key,
    status text not null default 'open' check (status in ('open', 'closed')),
    closed_at timestamptz,
    closed_by_run bigint,
    check ((status = 'closed') = (closed_at is not null))
);
create table run (
    run_id bigint generated always as identity primary key,
    job text not null,
    business_date date not null,
    status text not null default 'running' check (status in ('running', 'waiting', 'failed', 'done')),
    plan jsonb,
    totals jsonb,
    message text,
    code_version text,
    flow_run_id text,
    started_by text not null default session_user,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
create unique index run_once on run (job, business_date);
comment on table run is 'One execution of a job for one business date; a re-run takes the same row up again.';

create table entry (
    member_id bigint not null,
    seq above_zero not null,
    book_date date not null,
    effective_on date not null,
    journal_id uuid not null,
    points above_zero not null,
    lot_seq bigint,
    lot_remaining_after not_negative,
    balance_after not_negative not null,
    debt_after not_negative not null,
    reversal_of bigint,
    approval_id bigint,
    run_id bigint,
    usable_from date,
    valid_through date,
    idle_by int,
    policy_version int,
    sign smallint generated always as (
        -- lists, not a branch for each kind: Postgres reads this expression anew for every statement that inserts, as it
        -- does every CHECK: what would make a long CHECK stands in apply_entries(), whose plans are kept
        case when kind in ('earn', 'spend_reversal', 'reinstate', 'transfer_in', 'adjust_up') then 1
            when kind = 'owe' then 0 else -1
        end) stored,
    kind text not null,
    source text not null,
    source_ref text not null,
    reason text,
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (member_id, seq, book_date)
) partition by range (book_date);
-- entries arrive in the order of their days, so a BRIN finds a day at almost no cost per insert
create index entry_book_date on entry using brin (book_date) with (pages_per_range = 16, autosummarize = on);
comment on table entry is 'The ledger: append-only, one line is points on one lot, plus or minus.';

create table posting_key (
    member_id bigint not null,
    source text collate "C" not null,
    source_ref text collate "C" not null,
    request_sha256 sha256 not null,
    journal_id uuid not null,
    book_date date not null,
    first_seq bigint not null,
    last_seq bigint not null check (last_seq >= first_seq),
    primary key (member_id, source, source_ref)
);
comment on table posting_key is 'One row for each event that was posted: the proof that it happened once, and where its entries are.';

create table seal (
    book_date date primary key references book_day,
    entries bigint not null,
    points_by_kind jsonb not null,
    outstanding bigint not null,
    debt bigint not null,
    root bytea not null check (octet_length(root) = 32),
    previous bytea,
    checkpoint bytea not null check (octet_length(checkpoint) = 32),
    sealed_at timestamptz not null default clock_timestamp()
);
comment on table seal is 'The fingerprint of a closed day: Merkle root (RFC 6962) of its entries, chained to the day before.';

-- Four eyes -------------------------------------------------------------------------------------------------

create table approval (
    approval_id bigint generated always as identity primary key,
    what text not null check (what in ('adjustment', 'reinstatement', 'plan')),
    payload jsonb not null,
    reason text not null check (length(btrim(reason)) >= 10),
    proposed_by text not null default session_user,
    proposed_at timestamptz not null default clock_timestamp(),
    approved_by text,
    approved_at timestamptz,
    constraint four_eyes check (approved_by <> proposed_by),
    check ((approved_by is null) = (approved_at is null))
);
create table one_use (
    what text not null,
    member_id bigint not null,
    ref bigint not null,
    primary key (what, member_id, ref)
);
comment on table one_use is 'An approval is used once, an entry is reversed once: by primary key.';

-- Holds -------------------------------------------------------------------------------------------------------

create table hold (
    member_id bigint not null references wallet,
    hold_no text collate "C" not null check (hold_no <> ''),
    points bigint not null check (points > 0),
    held_on date not null,
    valid_through date not null check (valid_through >= held_on),
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (member_id, hold_no)
);
create table hold_lot (
    member_id bigint not null,
    hold_no text collate "C" not null,
    lot_seq bigint not null,
    points bigint not null check (points > 0),
    primary key (member_id, hold_no, lot_seq),
    foreign key (member_id, hold_no) references hold,
    foreign key (member_id, lot_seq) references lot
);
create table hold_end (
    member_id bigint not null,
    hold_no text collate "C" not null,
    outcome text not null check (outcome in ('captured', 'released', 'lapsed')),
    points bigint not null check (points >= 0),
    ended_on date not null,
    actor text not null default session_user,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (member_id, hold_no),
    foreign key (member_id, hold_no) references hold
);
comment on table hold_end is 'A hold ends at most once: by primary key.';

-- Feeds: what the shop said, before and after it was posted ---------------------------------------------------

create table feed_file (
    file_id bigint generated always as identity primary key,
    feed text not null check (feed in ('orders', 'redemptions', 'cancellations', 'members')),
    name text not null,
    sha256 text not null,
    layout text not null,
    imported_by text not null default session_user,
    imported_at timestamptz not null default clock_timestamp(),
    unique (feed, sha256)
);
create table feed_total (
    file_id bigint not null references feed_file,
    fate text not null check (fate in ('accepted', 'rejected', 'skipped')),
    reason text not null,
    rows bigint not null check (rows > 0),
    money numeric,
    primary key (file_id, fate, reason)
);
comment on table feed_total is 'The control total of a file: every row is accepted, rejected or skipped.';
create table shop_order (
    member_id bigint not null references member,
    order_no text collate "C" not null unique,
    placed_at timestamptz not null,
    effective_on date not null,
    store text,
    channel text,
    purchase_amount numeric not null,
    purchase_lines int not null,
    return_lines int not null,
    fingerprint bytea not null,
    file_id bigint not null references feed_file,
    is_waiting boolean not null,
    primary key (member_id, order_no)
);
-- by day to find who is due, by member to post a chunk of them: both hold only what waits
create index shop_order_waiting on shop_order (effective_on, member_id) where is_waiting;
create index shop_order_waiting_of on shop_order (member_id, effective_on) where is_waiting;
create table order_line (
    member_id bigint not null,
    order_no text collate "C" not null,
    line_no int not null,
    sku text collate "C" not null,
    category text,
    quantity numeric not null check (quantity > 0),
    unit_price numeric not null check (unit_price > 0),
    primary key (member_id, order_no, line_no)
);
create table return_line (
    member_id bigint not null,
    order_no text collate "C" not null,
    line_no int not null,
    sku text collate "C" not null,
    quantity numeric not null check (quantity > 0),
    unit_price numeric not null check (unit_price > 0),
    original_order_no text collate "C",
    placed_at timestamptz not null,
    effective_on date not null,
    is_waiting boolean not null default true,
    primary key (member_id, order_no, line_no)
);
create index return_line_waiting on return_line (effective_on, member_id) where is_waiting;
create index return_line_waiting_of on return_line (member_id, effective_on) where is_waiting;
create table order_earning (
    member_id bigint not null,
    order_no text collate "C" not null,
    policy_version int not null references policy_version,
    eligible_amount numeric not null,
    exact_points numeric not null,
    points bigint not null check (points >= 0),
    lot_seq bigint,
    lines int [] not null,
    rates smallint [] not null,
    multipliers smallint [] not null,
    primary key (member_id, order_no),
    check ((points = 0) = (lot_seq is null))
);
comment on table order_earning is
    'What an order earned, and why: for each eligible line (lines) the position of its rate and multiplier (0 = none).';
create table returned_line (
    member_id bigint not null,
    order_no text collate "C" not null,
    line_no int not null,
    return_order_no text collate "C" not null,
    return_line_no int not null,
    quantity numeric not null check (quantity > 0),
    amount numeric not null check (amount >= 0),
    points bigint not null check (points >= 0),
    primary key (member_id, order_no, line_no, return_order_no, return_line_no)
);
comment on table returned_line is 'Which purchase lines a return took quantity from: amount eligible for points, points taken back.';
create table redemption (
    redemption_no text collate "C" primary key,
    member_no text collate "C" not null,
    redeemed_at timestamptz not null,
    effective_on date not null,
    points bigint not null check (points > 0),
    reward text,
    fingerprint bytea not null,
    file_id bigint not null references feed_file,
    state text not null default 'waiting' check (state in ('waiting', 'posted', 'refused')),
    member_id bigint,
    check (state <> 'posted' or member_id is not null)
);
create index redemption_waiting on redemption (effective_on) where state = 'waiting';
create index redemption_waiting_of on redemption (member_id, effective_on) where state = 'waiting';
create table cancellation (
    redemption_no text collate "C" primary key,
    cancelled_at timestamptz not null,
    effective_on date not null,
    fingerprint bytea not null,
    file_id bigint not null references feed_file,
    state text not null default 'waiting' check (state in ('waiting', 'posted', 'refused'))
);
create index cancellation_waiting on cancellation (effective_on) where state = 'waiting';

create table finding (
    finding_id bigint generated always as identity primary key,
    reason text not null,
    feed text not null,
    ref text collate "C" not null,
    found_on date,
    member_no text collate "C",
    file_id bigint references feed_file,
    line bigint,
    detail jsonb not null default '{}',
    recorded_at timestamptz not null default clock_timestamp(),
    unique (reason, feed, ref)
);
create index finding_of_member on finding (member_no);
comment on table finding is 'Rows of a feed that were not accepted, and events that moved no points, each with its reason.';
