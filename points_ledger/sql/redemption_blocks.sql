-- Blocks of redemptions and their releases, oldest first. Parameters: member_no (null = everybody's), is_open (only those in
-- force). Locks: none. Idempotence: a read.
select
    b.block_id, m.member_no, b.reason, b.blocked_by, b.blocked_at, r.reason as released_because, r.released_by, r.released_at,
    r.approval_id
from points.redemption_block as b
inner join points.member as m on m.member_id = b.member_id
left join points.redemption_release as r on r.block_id = b.block_id
where (CAST(:member_no AS text) is null or m.member_no = :member_no) and (not :is_open or r.block_id is null)
order by b.block_id
