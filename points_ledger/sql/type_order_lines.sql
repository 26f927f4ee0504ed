-- Reads the staged text of an orders file as values; a row that cannot be read gets a reason.
--
-- Parameters: decimal ('.' or ','), timestamp_format (null = ISO), zone (of the programme), starts_on (date).
-- Locks: none, temporary tables only. Idempotence: run once in the import's transaction.
-- The shape of a number is tested with translate() because a regular expression costs ten times as much;
-- the timestamp's common form is cast directly, every other one goes through try_timestamp().
create temporary table typed_line on commit drop as
with shaped as (
    select
        row_no, order_no, member_no, sku, category, store, channel, original_order_no, placed_at,
        case when :decimal = ',' then translate(quantity, '.,', '_.') else quantity end as quantity,
        case when :decimal = ',' then translate(unit_price, '.,', '_.') else unit_price end as unit_price
    from staged
),
typed as (
    select
        row_no, coalesce(order_no, '') as order_no, nullif(member_no, '') as member_no, coalesce(sku, '') as sku,
        nullif(category, '') as category, nullif(store, '') as store, nullif(channel, '') as channel,
        nullif(original_order_no, '') as original_order_no,
        case when points.is_number(quantity) then quantity::numeric end as quantity,
        case when points.is_number(unit_price) then unit_price::numeric end as unit_price,
        case
            when length(placed_at) = 16 and translate(placed_at, '0123456789', '') = '-- :' and placed_at like '____-__-__ __:__'
                and placed_at >= '1900' and substr(placed_at, 6, 2) between '01' and '12'
                and substr(placed_at, 9, 2) between '01' and '28' and substr(placed_at, 12, 2) <= '23'
                and substr(placed_at, 15, 2) <= '59' and CAST(:timestamp_format AS text) is null
                then placed_at::timestamptz
            else points.try_timestamp(placed_at, CAST(:timestamp_format AS text))
        end as placed_at
    from shaped
)
select
    row_no, order_no, row_number() over (partition by order_no collate "C" order by row_no)::int as line_no,
    member_no, sku, category, store, channel, original_order_no, quantity, unit_price, placed_at,
    quantity * unit_price as amount,
    case
        when order_no = '' then 'order_no_missing'
        when quantity is null then 'quantity_not_a_number'
        when unit_price is null then 'unit_price_not_a_number'
        when placed_at is null then 'placed_at_not_a_time'
        when member_no is not null and sku = '' then 'sku_missing'
        when (placed_at at time zone :zone)::date < :starts_on then 'before_the_programme'
    end as reason
from typed
