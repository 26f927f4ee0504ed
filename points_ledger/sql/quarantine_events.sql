-- Keeps the rejected rows of a redemptions, cancellations or activities file, each with its reason and its text.
-- Parameters: feed, file_id, header_lines. Locks: the new rows. Idempotence: unique (reason, feed, ref).
insert into points.finding (reason, feed, ref, member_no, file_id, line, detail)
select t.reason, :feed, CAST(:file_id AS text) || ':' || t.row_no, nullif(t.member_no, ''), :file_id, t.row_no + :header_lines,
    to_jsonb(s) - 'row_no'
from typed_event as t
inner join staged as s on s.row_no = t.row_no
where t.reason is not null and not t.is_known
