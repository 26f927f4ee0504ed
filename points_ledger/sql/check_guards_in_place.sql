-- What keeps the ledger true is switched on: no trigger is disabled, every partition refuses changes in any session, every
-- constraint is proved and every index usable. Parameters: none. Locks: none. Idempotence: a read of the catalogue.
select c.relname || '.' || t.tgname as object, format('%s: trigger %s is switched off', c.relname, t.tgname) as difference
from pg_trigger as t
inner join pg_class as c on c.oid = t.tgrelid
where c.relnamespace = CAST('points' AS regnamespace) and not t.tgisinternal and t.tgenabled in ('D', 'R')
union all
select c.relname || '.' || wanted.name, format('%s: trigger %s is missing or does not fire in every session', c.relname, wanted.name)
from pg_class as c
inner join (values ('append_only', true), ('append_only_truncate', true), ('through_entry_only', true), ('apply_entries', false))
    as wanted (name, is_of_partitions) on wanted.is_of_partitions = c.relispartition
    or (c.relname = 'entry' and wanted.name <> 'through_entry_only')
where c.relnamespace = CAST('points' AS regnamespace) and c.relkind in ('r', 'p') and c.relname like 'entry%'
    and (c.relispartition or c.relname = 'entry') and not exists (
        select from pg_trigger as t where t.tgrelid = c.oid and t.tgname = wanted.name and t.tgenabled = 'A')
    and not exists (select from pg_trigger as t where t.tgrelid = c.oid and t.tgname = wanted.name and t.tgenabled in ('D', 'R'))
union all
select c.relname || '.' || k.conname, format('%s: constraint %s is not proved', c.relname, k.conname)
from pg_constraint as k
inner join pg_class as c on c.oid = k.conrelid
where k.connamespace = CAST('points' AS regnamespace) and not k.convalidated
union all
select c.relname, format('index %s is not usable', c.relname)
from pg_index as i
inner join pg_class as c on c.oid = i.indexrelid
where c.relnamespace = CAST('points' AS regnamespace) and not (i.indisvalid and i.indisready)
order by 1
