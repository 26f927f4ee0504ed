-- Keeps the answers of one run of checks. Parameters: as_of, form, engine, run_id, snapshot, code_version, flow_run_id,
-- started_at, answers (json as text). Locks: an advisory lock of the transaction. Idempotence: findings are seen again.
select points.record_checks(CAST(:as_of AS date), :form, :engine, CAST(:run_id AS bigint), :snapshot, :code_version,
    CAST(:flow_run_id AS text), CAST(:started_at AS timestamptz), CAST(:answers AS jsonb))
