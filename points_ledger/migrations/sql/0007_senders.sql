-- What senders need beside claim and finish.

-- Leased notices that were not tried: back in the queue from a moment on, as if this claim had not been. Returns those that were
-- still the owner's.
create function give_back_notices(owner text, token bigint, ids bigint [], next timestamptz) returns bigint [] language plpgsql
security definer
set search_path = pg_catalog, points, pg_temp as $$
declare ours constant bigint [] := leased(owner, token, ids);
begin
    update notice_queue q set attempts = q.attempts - 1, not_before = greatest(q.not_before, give_back_notices.next),
        lease_owner = null, lease_token = null, lease_until = null, is_sending = false
    where q.notice_id = any(ours);
    return ours;
end $$;

-- A member wants no more of a class, by any channel. Again: nothing happens. The link that asks is signed by the dispatcher.
create function unsubscribe(member bigint, class text, moment timestamptz) returns void language sql security definer
set search_path = pg_catalog, points, pg_temp as $$
    insert into consent (member_id, class, channel, granted, source, moment)
    select m.member_id, unsubscribe.class, 'any', false, 'unsubscribe', unsubscribe.moment
    from member m
    where m.member_id = unsubscribe.member
        and (has_consent(m.member_id, unsubscribe.class, 'email') or has_consent(m.member_id, unsubscribe.class, 'sms'))
$$;

revoke execute on function give_back_notices(text, bigint, bigint [], timestamptz), unsubscribe(bigint, text, timestamptz) from public;
grant execute on function give_back_notices(text, bigint, bigint [], timestamptz) to loyalty_batch;
grant usage on schema points to loyalty_unsubscribe;
grant execute on function unsubscribe(bigint, text, timestamptz) to loyalty_unsubscribe;
