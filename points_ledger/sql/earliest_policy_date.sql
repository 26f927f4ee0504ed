-- The first day from which a programme could be in force if it were proposed now: what refuse_effective_date and
-- refuse_short_notice let pass. Parameters: needs_approval. Locks: none. Idempotence: a read.
with open_day as (
    select points.open_business_date() as day
),
newest as (
    select effective_from, coalesce((document #>> '{programme,notice_days}')::int, 30) as notice_days
    from points.policy_version
    order by version desc limit 1
)
select greatest(
    o.day, n.effective_from, case when :needs_approval then o.day + n.notice_days end,
    (
        select max(s.effective_on) + 1 from points.shop_order as s
        inner join points.order_earning as e on e.member_id = s.member_id and e.order_no = s.order_no
        where s.effective_on >= o.day
    )) as day
from open_day as o
cross join newest as n
