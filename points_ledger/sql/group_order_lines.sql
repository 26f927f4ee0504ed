-- One row for each order of the file, with what becomes of it: accept, or skip or reject with a reason.
--
-- Parameters: zone, enrol (boolean). Locks: none. Idempotence: run once in the import's transaction.
-- An order is taken whole or not at all: one unreadable line rejects the order, because half an order would earn
-- wrong points and block its own correction.
create temporary table typed_order on commit drop as
with grouped as (
    select
        order_no, min(member_no) as member_no, min(placed_at) as placed_at, min(store) as store, min(channel) as channel,
        count(*)::int as lines, max(member_no) is distinct from min(member_no) or (count(member_no) not in (0, count(*))) as mixed,
        bool_or(reason is not null) as unreadable,
        coalesce(sum(amount) filter (where quantity > 0 and unit_price > 0), 0) as purchase_amount,
        (count(*) filter (where quantity > 0 and unit_price > 0))::int as purchase_lines,
        (count(*) filter (where quantity < 0 and unit_price > 0))::int as return_lines,
        coalesce(sum(amount) filter (where quantity < 0 and unit_price > 0), 0) as return_amount,
        coalesce(sum(amount), 0) as amount,
        sha256(convert_to(string_agg(
            concat_ws('|', coalesce(member_no, ''), sku, trim_scale(quantity), trim_scale(unit_price), extract(epoch from placed_at),
                coalesce(category, ''), coalesce(store, ''), coalesce(channel, ''), coalesce(original_order_no, '')),
            E'\n' order by line_no), 'UTF8')) as fingerprint
    from typed_line
    group by order_no
)
select
    g.*, m.member_id, (g.placed_at at time zone :zone)::date as effective_on,
    case
        when g.unreadable then 'order_with_an_unreadable_line'
        when g.mixed then 'order_of_two_members'
        when g.member_no is null then null
        when known.order_no is not null and known.fingerprint <> g.fingerprint then 'order_changed'
        when not :enrol and m.member_id is null then 'unknown_member'
    end as reason,
    known.fingerprint = g.fingerprint as is_known
from grouped as g
left join points.member as m on m.member_no = g.member_no
left join points.shop_order as known on known.order_no = g.order_no
