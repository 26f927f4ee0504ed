-- What undoing a run would do at some members. Parameters: run_id, members (bigint[]), spent (debt | waive), day.
-- Locks: the members' wallets, until it returns. Idempotence: everything is rolled back inside; nothing is changed.
select part, kind, outcome, entries, points
from points.preview_undo(CAST(:run_id AS bigint), CAST(:members AS bigint []), CAST(:spent AS text), CAST(:day AS date))
