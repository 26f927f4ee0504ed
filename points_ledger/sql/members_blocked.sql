-- How many members' redemptions are blocked. Parameters: none. Locks: none. Idempotence: a read of the blocks.
select count(*)
from points.redemption_block as b
where not exists (select from points.redemption_release as r where r.block_id = b.block_id)
