-- Events of a member that are stored and not posted yet. Parameters: member_id, member_no. Locks: none. Idempotence: a read.
select
    (select count(*) from points.shop_order where member_id = :member_id and is_waiting)
    + (select count(*) from points.return_line where member_id = :member_id and is_waiting)
    + (select count(*) from points.redemption where member_no = :member_no and state = 'waiting')
    + (select count(*) from points.activity where member_no = :member_no and state = 'waiting') as waiting
