-- Members whose tier can have changed at the close of a day. Parameters: day. Locks: none. Idempotence: a read.
select member_id from points.entry where book_date = :day and kind in ('earn', 'claw_back', 'owe')
union
select member_id from points.order_earning where posted_on = :day
union
select member_id from points.member_tier where review_on <= :day
order by member_id
