-- Puts the plan of a run before a second person, unless the same one waits there already.
-- Parameters: run_id, plan (jsonb as text), reason. Locks: none. Idempotence: no second row for the same plan.
select points.propose('plan', CAST(:plan AS jsonb) || jsonb_build_object('run_id', CAST(:run_id AS text)), :reason)
where not exists (
    select from points.approval
    where what = 'plan' and approved_by is null
        and payload = CAST(:plan AS jsonb) || jsonb_build_object('run_id', CAST(:run_id AS text)))
