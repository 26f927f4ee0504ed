-- Records what a screen found, once a screen, subject and business date. Parameters: screen, day, version, run_id, found
-- (JSON array of subject, member_id, facts). Locks: the new rows. Idempotence: unique (screen, subject, business_date).
with recorded as (
    insert into points.screen_finding (screen, subject, member_id, business_date, facts, policy_version, run_id)
    select :screen, f.subject, f.member_id, :day, f.facts, :version, :run_id
    from jsonb_to_recordset(CAST(:found AS jsonb)) as f (subject text, member_id bigint, facts jsonb)
    on conflict do nothing
    returning 1
)
select count(*) from recorded
