-- What the erasure of a member destroys: contact, mark, and how many proofs nobody will be able to read; how many notices wait.
-- Parameters: member_no. Locks: none. Idempotence: a read.
select
    m.member_no, m.member_id, c.member_id is not null as has_contact, f.member_id is not null as has_mark,
    (select count(*) from points.notice_proof as p inner join points.notice as n on n.notice_id = p.notice_id
        where n.member_id = m.member_id) as proofs,
    (select count(*) from points.notice_queue as q inner join points.notice as n on n.notice_id = q.notice_id
        where n.member_id = m.member_id) as waiting,
    e.moment as erased_at
from points.member as m
left join points.contact as c on c.member_id = m.member_id
left join points.member_contact as f on f.member_id = m.member_id
left join points.erasure as e on e.member_id = m.member_id
where m.member_no = :member_no
