-- How far the undo of a run is: its approval that was begun, else an approved one, else the newest. Parameters: run_id (text).
-- Locks: none. Idempotence: a read.
select
    a.approval_id, a.payload ->> 'spent' as spent, a.approved_by, u.run_id as undo_run, coalesce(u.status = 'done', false) as is_done,
    u.totals
from points.approval as a
left join points.run as u on u.approval_id = a.approval_id and u.undoes is not null
where a.what = 'undo' and a.payload ->> 'run_id' = CAST(:run_id AS text)
order by u.run_id is null, a.approved_by is null, a.approval_id desc
limit 1
