-- Which screens can find anything on a day, one column each: the others are not asked. Parameters: day, version,
-- members_per_contact, minutes_after_earn, refunds_after_spend, redemptions_per_day, points_redeemed_per_day,
-- staff_same_member, near_limit_count. Locks: none. Idempotence: a read of the day's entries.
select
    d.earns as member_earns_above_past,
    exists (select from points.store_day as s where s.business_date = :day) as store_earns_above_past,
    d.entries and :members_per_contact > 0 and exists (select from points.member_contact) as shared_contact,
    d.spends and :minutes_after_earn > 0 as redemption_after_earn,
    :refunds_after_spend > 0
    and (d.returns or exists (select from points.return_line as l where l.effective_on = :day)) as refund_after_spend,
    d.spends and (:redemptions_per_day > 0 or :points_redeemed_per_day > 0) as redemptions_above_cap,
    d.corrections
    and exists (select from points.screening as s where s.version = :version and s.staff <> '{}') as staff_credits_self,
    d.corrections and :staff_same_member > 0 as staff_favours_member,
    d.corrections and :near_limit_count > 0 as staff_near_limit
from (
    select
        count(*) > 0 as entries, coalesce(bool_or(e.kind = 'earn'), false) as earns,
        coalesce(bool_or(e.kind = 'spend'), false) as spends, coalesce(bool_or(e.source = 'return'), false) as returns,
        coalesce(bool_or(e.source in ('adjustment', 'reinstatement')), false) as corrections
    from points.entry as e
    where e.book_date = :day
) as d
