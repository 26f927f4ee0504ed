-- Tiers (design 6 and 7): what a version says of them, the decisions, and what is held on a day.

-- The tiers of each version, lowest first, and how they are measured. Views: a version's document is the truth.
create view policy_tier as
select p.version, t.rank::int as rank, t.tier ->> 'code' as code, (t.tier ->> 'enter_at')::numeric as enter_at,
    coalesce((t.tier ->> 'keep_at')::numeric, (t.tier ->> 'enter_at')::numeric) as keep_at
from policy_version as p
cross join lateral jsonb_array_elements(coalesce(p.document -> 'tier', '[]')) with ordinality as t (tier, rank);

create view tiering as
select version, coalesce(document #>> '{tiers,metric}', 'points_earned') as metric,
    coalesce(document #>> '{tiers,window}', 'rolling_12_months') as period,
    coalesce(document #>> '{tiers,downgrade}', 'one_down') as downgrade,
    coalesce((document #>> '{tiers,grace_days}')::int, 30) as grace_days
from policy_version;

create table tier_decision (
    member_id bigint not null references member,
    decision_no int not null check (decision_no > 0),
    decided_on date not null,
    held_from date not null,
    tier text not null,
    previous_tier text,
    what text not null check (what in ('upgrade', 'downgrade', 'renewal', 'protection')),
    metric text not null,
    amount numeric not null,
    window_from date not null,
    window_through date not null,
    threshold numeric not null,
    valid_to date,
    review_on date,
    protected_until date,
    policy_version int not null references policy_version,
    approval_id bigint references approval,
    run_id bigint,
    sentence text not null,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (member_id, decision_no),
    constraint tiers_are_held_from_the_next_day check (held_from <= decided_on + 1),
    constraint only_an_upgrade_reaches_back check (what = 'upgrade' or held_from = decided_on + 1),
    constraint protection_needs_an_approval check ((what = 'protection') = (approval_id is not null))
);
create index tier_decision_by_day on tier_decision (decided_on);
comment on table tier_decision is 'Every change of a member''s tier, with its inputs, thresholds, version and reason. Append-only.';
select make_append_only(array['tier_decision']);

create table member_tier (
    member_id bigint primary key references member,
    decision_no int not null,
    tier text not null,
    held_from date not null,
    valid_to date,
    review_on date,
    protected_until date
);
-- the nights find who is due by this, not by reading every member
create index member_tier_review on member_tier (review_on) where review_on is not null;
comment on table member_tier is 'What each member holds now: the projection of the newest decision.';

-- By key, never by reading every member's tier; planned for every statement (execute): a plan kept from when the table
-- was empty would compare every decision with every tier.
create function apply_tier_decisions() returns trigger language plpgsql security definer
set search_path = pg_catalog, points, pg_temp set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
declare misnumbered bigint;
begin
    execute $gaps$
        select count(*) from (
            select n.member_id from new_rows n left join member_tier t using (member_id)
            group by n.member_id, t.decision_no
            having min(n.decision_no) <> coalesce(t.decision_no, 0) + 1 or max(n.decision_no) <> coalesce(t.decision_no, 0) + count(*)
        ) as gaps
    $gaps$ into misnumbered;
    if misnumbered > 0 then
        raise exception '% members: tier decisions do not continue their history', misnumbered using errcode = 'PL010';
    end if;
    insert into member_tier as t (member_id, decision_no, tier, held_from, valid_to, review_on, protected_until)
    select distinct on (member_id) member_id, decision_no, tier, held_from, valid_to, review_on, protected_until
    from new_rows order by member_id, decision_no desc
    on conflict (member_id) do update set decision_no = excluded.decision_no, tier = excluded.tier, held_from = excluded.held_from,
        valid_to = excluded.valid_to, review_on = excluded.review_on, protected_until = excluded.protected_until;
    return null;
end $$;
create trigger apply_tier_decisions after insert on tier_decision
referencing new table as new_rows for each statement execute function apply_tier_decisions();

-- The tier held on a day: the newest decision that holds from then or before; before any, the tier that asks nothing.
create function tier_on(member bigint, day date) returns text language sql stable as $$
    select coalesce(
        (select d.tier from points.tier_decision d where d.member_id = member and d.held_from <= day
            order by d.decision_no desc limit 1),
        (select t.code from points.policy_tier t where t.version = points.version_on(day) and t.enter_at <= 0
            order by t.rank desc limit 1))
$$;

-- The first day that counts for the metric on `day`, and the last day a tier reached on `day` is valid: the end of the
-- current period plus one full period. A rolling period ends on the day itself.
create function window_from(period text, day date, joined_on date) returns date language sql immutable as $$
    select case period
        when 'calendar_year' then date_trunc('year', day)::date
        when 'rolling_12_months' then (day + 1 - interval '12 months')::date
        when 'anniversary' then (joined_on + make_interval(years => extract(year from age(day, joined_on))::int))::date
        else '0001-01-01'::date
    end
$$;
create function tier_valid_to(period text, day date, joined_on date) returns date language sql immutable as $$
    select case period
        when 'calendar_year' then (date_trunc('year', day) + interval '2 years')::date - 1
        when 'rolling_12_months' then (day + interval '12 months')::date
        when 'anniversary' then (joined_on + make_interval(years => extract(year from age(day, joined_on))::int + 2))::date - 1
    end
$$;

-- What moved a member's metric, day by day: points earned less what returns took back (covered or owed), money spent on
-- what earns less refunds, or orders that earned.
create function tier_metric(members bigint [], metric text, first_day date) returns table (
    member_id bigint, moved_on date, amount numeric
) language sql stable as $$
    select e.member_id, e.effective_on, case e.kind when 'earn' then e.points else -e.points end
    from points.entry e
    where metric = 'points_earned' and e.member_id = any(members) and e.book_date >= first_day
        and e.effective_on >= first_day and e.kind in ('earn', 'claw_back', 'owe')
    union all
    select o.member_id, o.effective_on, case metric when 'orders' then 1 else x.eligible_amount end
    from points.shop_order o join points.order_earning x on x.member_id = o.member_id and x.order_no = o.order_no
    where metric in ('spend', 'orders') and o.member_id = any(members) and o.effective_on >= first_day and x.eligible_amount > 0
    union all
    select r.member_id, l.effective_on, -r.amount
    from points.returned_line r
    join points.return_line l on l.member_id = r.member_id and l.order_no = r.return_order_no and l.line_no = r.return_line_no
    where metric = 'spend' and r.member_id = any(members) and l.effective_on >= first_day
$$;

-- Keeps a member's tier until a day, with a reason and the approval of a second person.
-- payload: {"member_no": text, "until": date}
create function protect_tier(approval bigint, day date) returns void language plpgsql security definer
set search_path = pg_catalog, points, pg_temp as $$
declare
    asked constant jsonb := approved(approval, 'tier');
    member constant bigint := member_by_no(asked ->> 'member_no');
    held member_tier;
begin
    perform from wallet where member_id = member for no key update;
    insert into one_use values ('approval', member, approval) on conflict do nothing;
    if not found then return; end if;
    select * into held from member_tier where member_id = member;
    if not found then
        raise exception 'member % holds no tier to protect', asked ->> 'member_no' using errcode = 'PL005';
    end if;
    insert into tier_decision (member_id, decision_no, decided_on, held_from, tier, previous_tier, what, metric, amount, window_from,
        window_through, threshold, valid_to, review_on, protected_until, policy_version, approval_id, sentence)
    select member, held.decision_no + 1, day, day + 1, held.tier, held.tier, 'protection', 'none', 0, day, day, 0, held.valid_to,
        greatest(held.review_on, (asked ->> 'until')::date + 1), (asked ->> 'until')::date, version_on(day), approval,
        format('Protected as %s until %s: %s', held.tier, asked ->> 'until', a.reason)
    from approval a where a.approval_id = approval;
end $$;

revoke execute on function apply_tier_decisions(), tier_on(bigint, date), window_from(text, date, date),
    tier_valid_to(text, date, date), tier_metric(bigint [], text, date), protect_tier(bigint, date) from public;
grant select on policy_tier, tiering, tier_decision, member_tier to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant insert on tier_decision to loyalty_batch;
grant execute on function tier_on(bigint, date), window_from(text, date, date), tier_valid_to(text, date, date),
    tier_metric(bigint [], text, date) to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function protect_tier(bigint, date) to loyalty_batch, loyalty_approver;
