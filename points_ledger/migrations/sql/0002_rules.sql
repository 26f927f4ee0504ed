-- Rules: the conditions and bonuses that 0001 did not know.

alter table policy_rule drop constraint policy_rule_kind_check;
alter table policy_rule add constraint policy_rule_kind_check check (kind in ('rate', 'multiplier', 'bonus'));
alter table policy_rule
    add column exclude_categories text [] collate "C",
    add column tiers text [] collate "C",
    add column groups text [] collate "C",
    add column first_order boolean,
    add column birthday_month boolean,
    add column spent_from numeric,
    add column spent_below numeric,
    add column spent_window text,
    add constraint spent_in_a_window check (
        (num_nonnulls(spent_from, spent_below) > 0) = (spent_window is not null)
        and (spent_window is null or kind = 'rate' and spent_window in ('calendar_year', 'rolling_12_months', 'anniversary', 'lifetime'))),
    add column activity text collate "C",
    add column activity_count int,
    add column per text,
    add column max_times int,
    add constraint only_a_bonus_is_for_an_activity check (
        case when activity is null then num_nonnulls(activity_count, per, max_times) = 0
            else kind = 'bonus' and activity_count > 0 and per in ('day', 'week', 'month', 'once') and max_times > 0 end);
comment on column policy_rule.amount is 'points per 1.00 of currency of a rate; factor of a multiplier; points of a bonus';

-- Several multipliers may apply to a line (stacking = multiply): their positions joined by +, 0 = none.
alter table order_earning alter column multipliers type text [] using multipliers::text [];
alter table order_earning
    add column bonuses smallint [] not null default '{}',
    add column posted_on date;
create index order_earning_posted_on on order_earning using brin (posted_on) with (pages_per_range = 16, autosummarize = on);
comment on table order_earning is
    'What an order earned, and why: for each eligible line (lines) the positions of its rate and multipliers; its bonuses.';

-- An exact product: the sum of logarithms is not.
create aggregate product (numeric) (sfunc = numeric_mul, stype = numeric, initcond = '1');

-- What the statements have to look up only when a version asks for it.
create view policy_needs as
select version, bool_or(tiers is not null) as tiers, bool_or(first_order is not null) as first_order,
    array_agg(distinct spent_window) filter (where spent_window is not null) as spent_windows
from policy_rule
group by version;

revoke execute on function product(numeric) from public;
grant select on policy_needs to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function product(numeric) to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
