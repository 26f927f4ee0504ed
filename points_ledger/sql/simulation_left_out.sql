-- Entries of the period that a simulation does not repeat, because they name entries or members of what really
-- happened: points given to others, reinstated, undone. Parameters: first, through. Locks: none. Idempotence: a read.
select e.source, count(*) as entries
from points.entry as e
where e.book_date between :first and :through and e.source in ('transfer', 'reinstatement', 'undo')
group by e.source
order by e.source
