"""Members as a feed: who belongs to the programme, without any contact data.

The newest file wins for what it says of a member; a member number is for ever.
"""

from sqlalchemy import Connection, text

from points_ledger.feeds import Reading, Total
from points_ledger.policy import Policy
from points_ledger.queries import statement


def accept(connection: Connection, reading: Reading, policy: Policy, file_id: int) -> list[Total]:
    """Enrol or update the staged members; return the control total."""
    values = {"starts_on": policy.starts_on, "file_id": file_id, "header_lines": reading.header_lines}
    connection.execute(statement("type_members"), values)
    connection.execute(statement("insert_members"), values)
    connection.execute(
        text(
            "SELECT points.open_wallets_of((SELECT array_agg(m.member_id) FROM typed_member AS t"
            " INNER JOIN points.member AS m ON m.member_no = t.member_no WHERE t.reason IS NULL))"
        )
    )
    connection.execute(statement("quarantine_members"), values)
    return [
        Total(row.fate, row.reason, row.rows, None)
        for row in connection.execute(
            text(
                "SELECT CASE WHEN reason IS NULL THEN 'accepted' ELSE 'rejected' END AS fate,"
                " coalesce(reason, 'members') AS reason, count(*) AS rows FROM typed_member GROUP BY 1, 2"
            )
        )
    ]
