-- Decisions on tiers, measured again: points earned less what returns took back in the window they name, from the entries
-- that were there when they were made (both sides: the same effective dates, recorded by the same instant); and the tier
-- they name is the one that amount allows. Parameters: none. Locks: none. Idempotence: a read.
with measured as (
    select d.member_id, d.decision_no, d.what, d.tier, d.amount, d.threshold, d.decided_on, coalesce((
        select sum(case e.kind when 'earn' then e.points else -e.points end)
        from points.entry as e
        where e.member_id = d.member_id and e.kind in ('earn', 'claw_back', 'owe') and e.recorded_at <= d.recorded_at
            and e.effective_on between d.window_from and d.window_through), 0) as again
    from points.tier_decision as d
    where d.metric = 'points_earned'
)
select member_id, decision_no, format('member_id %s, decision %s of %s, %s to %s: %s points, counted again %s, asked %s', member_id,
    decision_no, decided_on, what, tier, trim_scale(amount), again, trim_scale(threshold)) as difference
from measured
where amount <> again or (what = 'upgrade' and again < threshold)
order by 1, 2
