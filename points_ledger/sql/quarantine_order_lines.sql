-- Keeps the rejected rows of an orders file, each with its reason and its text. Parameters: file_id, header_lines.
-- Locks: the new rows. Idempotence: unique (reason, feed, ref).
insert into points.finding (reason, feed, ref, member_no, file_id, line, detail)
select
    coalesce(l.reason, o.reason), 'orders', CAST(:file_id AS text) || ':' || l.row_no, l.member_no, :file_id,
    l.row_no + :header_lines, to_jsonb(s) - 'row_no'
from typed_line as l
inner join typed_order as o on o.order_no = l.order_no
inner join staged as s on s.row_no = l.row_no
where o.reason is not null and o.reason <> 'order_changed'
union all
select
    o.reason, 'orders', o.order_no || '@' || :file_id, o.member_no, :file_id, null,
    jsonb_build_object('lines', o.lines, 'known_file', k.file_id)
from typed_order as o
inner join points.shop_order as k on k.order_no = o.order_no
where o.reason = 'order_changed'
