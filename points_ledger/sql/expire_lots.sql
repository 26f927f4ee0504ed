-- Clears the lapsed lots of some members at the close of a business date: design 5.4.
--
-- Parameters: members (bigint[], wallets locked by the caller), closed (date: the day that was closed), run_id.
-- Locks: none of its own. Idempotence: a cleared lot is no longer open; the trigger refuses a second expiry of a lot.
-- One entry a lot, booked on the day after `closed`, effective the day after its last valid day. A lot with held
-- points waits until its hold has ended, so that it expires once and whole.
-- Member by member through the index of their open lots, in its order: the cost follows what is due, whatever the
-- planner thinks is stored.
with due as (
    select
        w.member_id, w.seq, w.balance, w.debt, greatest(CAST(:closed AS date) + 1, w.last_book) as book_date,
        l.lot_seq, l.remaining, l.last_day, row_number() over so_far as n,
        (sum(l.remaining) over so_far)::bigint as upto
    from unnest(CAST(:members AS bigint [])) as m (member_id)
    inner join points.wallet as w on w.member_id = m.member_id
    cross join lateral (
        select y.lot_seq, y.remaining, points.last_day(y.valid_through, w.active_on, y.idle_by) as last_day
        from points.lot as y
        where y.member_id = m.member_id and y.is_open and y.held = 0 and y.valid_through <= :closed
        union all
        select y.lot_seq, y.remaining, points.last_day(y.valid_through, w.active_on, y.idle_by)
        from points.lot as y
        where (select min(idle_months) from points.policy) is not null  -- or none of the member's lots is looked at
            and y.member_id = m.member_id and y.is_open and y.held = 0 and y.idle_by is not null
            and coalesce(y.valid_through > :closed, true) and points.idle_through(w.active_on, y.idle_by) <= :closed
    ) as l
    window so_far as (partition by w.member_id order by l.last_day, l.lot_seq rows unbounded preceding)
)
insert into points.entry (
    member_id, seq, book_date, effective_on, journal_id, kind, points, lot_seq, lot_remaining_after, balance_after,
    debt_after, run_id, source, source_ref)
select
    member_id, seq + n, book_date, last_day + 1, points.journal_of(member_id, 'expiry', lot_seq::text), 'expire',
    remaining, lot_seq, 0, balance - upto, debt, CAST(:run_id AS bigint), 'expiry', lot_seq::text
from due
