-- Deferrals by the closes before the period. Parameters: first. Locks: none. Idempotence: a read.
select * from points.lot_deferral where business_date < :first
