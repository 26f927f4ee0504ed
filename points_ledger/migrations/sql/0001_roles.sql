-- Who may do what (design 14). Logins carry no password here: a deployment sets one, or maps people to these
-- roles by `GRANT loyalty_approver TO alice`, so that every person acts under a login of their own.

grant usage on schema points to loyalty_batch, loyalty_api, loyalty_support, loyalty_auditor, loyalty_approver;
revoke execute on all functions in schema points from public;

-- everybody reads the books; support gets masked views with the contact data of a later version
grant select on all tables in schema points to loyalty_batch, loyalty_auditor, loyalty_approver;
grant select on member, wallet, lot, entry, posting_key, shop_order, order_line, return_line, returned_line, order_earning,
    redemption, cancellation, policy_version, policy_rule, policy, hold, hold_lot, hold_end, finding, book_day to loyalty_support;
grant execute on function last_closed(), version_on(date), valid_through(date, text, int, text, text), idle_through(date, int),
    last_day(date, date, int), has_lapsed_idle(bigint, int, date), due_lots(date), last_activities(date),
    available(bigint, date), entry_leaf(entry), expected_seal(date), merkle_root(bytea []), journal_of(bigint, text, text),
    book_date_for(date, date), is_number(text), try_timestamp(text, text), try_date(text)
    to loyalty_batch, loyalty_support, loyalty_auditor, loyalty_approver;

-- tills and apps: the verbs, and nothing else
grant execute on function spend(text, bigint, date, text, text, text, bigint),
    hold(text, bigint, date, date, text), capture(text, text, bigint, date), release(text, text, date)
    to loyalty_api, loyalty_batch;

-- the flows: insert entries (the trigger applies them), never change one; move what waits. Not approval_id and not
-- reversal_of: what needs an approval, and what reverses, goes through the verbs that look at it.
grant insert (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after, balance_after,
    debt_after, run_id, usable_from, valid_through, idle_by, policy_version, kind, source, source_ref, reason)
    on entry to loyalty_batch;
grant insert on posting_key, order_earning, feed_file, feed_total, shop_order, order_line, return_line, redemption, cancellation, finding,
    policy_version, policy_rule, run to loyalty_batch;
grant insert on member to loyalty_batch;
grant update (status, joined_on, locale, time_zone, groups, birthday_md) on member to loyalty_batch;
grant update (is_waiting) on shop_order to loyalty_batch;
grant update (status, plan, totals, message, code_version, flow_run_id, finished_at) on run to loyalty_batch;
grant execute on function lock_wallets(bigint [], boolean), open_wallets(date), open_wallets_of(bigint []), members_waiting(date),
    post_returns(bigint [], date, bigint, boolean), post_cancellations(bigint [], date, bigint),
    post_redemptions(bigint [], date, bigint, boolean), refuse_leftovers(date), release_lapsed_holds(date),
    open_day(date), close_day(date, bigint), seal_day(date), adjust(bigint, date)
    to loyalty_batch;

-- the second person
grant execute on function approve(bigint) to loyalty_approver;
