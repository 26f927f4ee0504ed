-- Reads the staged text of an orders file as values; a row that cannot be read gets a reason.
--
-- Parameters: decimal ('.' or ','), timestamp_format (null = ISO), zone (of the programme), starts_on (date).
-- Locks: none, temporary tables only. Idempotence: run once in the import's transaction.
-- What repeats is read once: a number or a time of the same text has the same value, and OFFSET 0 keeps the planner
-- from copying the expressions to every place that uses their value. The shape of a number is tested with translate()
-- because a regular expression costs twice as much; the timestamp's common form is cast directly, every other one goes
-- through try_timestamp().
create temporary table typed_line on commit drop as
with said as (
    select placed_at as said_at from staged where placed_at is not null group by placed_at
),
timed as (
    select
        said_at,
        case
            when length(said_at) = 16 and translate(said_at, '0123456789', '') = '-- :' and said_at like '____-__-__ __:__'
                and said_at >= '1900' and substr(said_at, 6, 2) between '01' and '12'
                and substr(said_at, 9, 2) between '01' and '28' and substr(said_at, 12, 2) <= '23'
                and substr(said_at, 15, 2) <= '59' and CAST(:timestamp_format AS text) is null
                then said_at::timestamptz
            else points.try_timestamp(said_at, CAST(:timestamp_format AS text))
        end as placed_at
    from said
    offset 0
),
dated as (
    select said_at, placed_at, (placed_at at time zone :zone)::date < :starts_on as is_early from timed offset 0
),
shaped as (
    select
        row_no, order_no, member_no, sku, category, store, channel, original_order_no, placed_at,
        case when :decimal = ',' then translate(quantity, '.,', '_.') else quantity end as quantity,
        case when :decimal = ',' then translate(unit_price, '.,', '_.') else unit_price end as unit_price
    from staged
),
typed as (
    select
        s.row_no, coalesce(s.order_no, '') as order_no, nullif(s.member_no, '') as member_no, coalesce(s.sku, '') as sku,
        nullif(s.category, '') as category, nullif(s.store, '') as store, nullif(s.channel, '') as channel,
        nullif(s.original_order_no, '') as original_order_no,
        case when points.is_number(s.quantity) then s.quantity::numeric end as quantity,
        case when points.is_number(s.unit_price) then s.unit_price::numeric end as unit_price,
        d.placed_at, d.is_early
    from shaped as s
    left join dated as d on d.said_at = s.placed_at
    offset 0
)
select
    row_no, order_no, row_number() over (partition by order_no collate "C" order by row_no rows unbounded preceding)::int as line_no,
    member_no, sku, category, store, channel, original_order_no, quantity, unit_price, placed_at,
    quantity * unit_price as amount,
    case
        when order_no = '' then 'order_no_missing'
        when quantity is null then 'quantity_not_a_number'
        when unit_price is null then 'unit_price_not_a_number'
        when placed_at is null then 'placed_at_not_a_time'
        when member_no is not null and sku = '' then 'sku_missing'
        when is_early then 'before_the_programme'
    end as reason
from typed
