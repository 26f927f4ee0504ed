-- Rules: the conditions and bonuses that 0001 did not know.

alter table policy_rule drop constraint policy_rule_kind_check;
alter table policy_rule add constraint policy_rule_kind_check check (kind in ('rate', 'multiplier', 'bonus'));
alter table policy_rule
    add column exclude_categories text [] collate "C",
    add column tiers text [] collate "C",
    add column groups text [] collate "C",
    add column first_order boolean,
    add column birthday_month boolean;
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

-- Whether a rule applies to a line of an order. No SET: inlined into the statements that ask it of every line.
create function rule_fits(
    r policy_rule, sku text, category text, store text, channel text, effective_on date, order_amount numeric, tier text,
    member_groups text [], is_first_order boolean, is_birthday_month boolean
) returns boolean language sql immutable as $$
    select (r.from_on is null or r.from_on <= effective_on) and (r.through_on is null or effective_on <= r.through_on)
        and (r.skus is null or sku = any(r.skus)) and (r.exclude_skus is null or sku <> all(r.exclude_skus))
        and (r.categories is null or category = any(r.categories))
        and (r.exclude_categories is null or category is null or category <> all(r.exclude_categories))
        and (r.stores is null or store = any(r.stores)) and (r.channels is null or channel = any(r.channels))
        and (r.weekdays is null or extract(isodow from effective_on) = any(r.weekdays))
        and (r.min_order_amount is null or order_amount >= r.min_order_amount)
        and (r.tiers is null or tier = any(r.tiers))
        and (r.groups is null or r.groups && member_groups)
        and (r.first_order is null or r.first_order = is_first_order)
        and (r.birthday_month is null or r.birthday_month = coalesce(is_birthday_month, false))
$$;

-- What the statements have to look up only when a version asks for it.
create view policy_needs as
select version, bool_or(tiers is not null) as tiers, bool_or(first_order is not null) as first_order,
    bool_or(kind = 'multiplier') as multipliers, bool_or(kind = 'bonus') as bonuses
from policy_rule
group by version;

revoke execute on function rule_fits(policy_rule, text, text, text, text, date, numeric, text, text [], boolean, boolean),
    product(numeric) from public;
grant select on policy_needs to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
grant execute on function rule_fits(policy_rule, text, text, text, text, date, numeric, text, text [], boolean, boolean),
    product(numeric) to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;
