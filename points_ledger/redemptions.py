"""Redemptions and their cancellations as feeds.

A redemption that cannot be honoured on its day (not enough points, a member nobody knows) is a finding, not an
error; so is the cancellation of a redemption that never happened.
"""

from sqlalchemy import Connection, text

from points_ledger.feeds import Reading, Total, refuse_implausible
from points_ledger.policy import Policy
from points_ledger.queries import statement


def accept(connection: Connection, reading: Reading, policy: Policy, file_id: int) -> list[Total]:
    """Store the staged redemptions as waiting events; return the control total (money is none: these are points).

    Raises:
        ImplausibleValue: points or a date beyond anything a shop can mean.
    """
    return accept_events(connection, "redemptions", reading, policy, file_id)


def accept_cancellations(connection: Connection, reading: Reading, policy: Policy, file_id: int) -> list[Total]:
    """Store the staged cancellations as waiting events; return the control total.

    Raises:
        ImplausibleValue: a date beyond anything a shop can mean.
    """
    return accept_events(connection, "cancellations", reading, policy, file_id)


def accept_events(connection: Connection, feed: str, reading: Reading, policy: Policy, file_id: int) -> list[Total]:
    """What the feeds of numbered events share: type, refuse, store, quarantine, count.

    Raises:
        ImplausibleValue: a value beyond anything a shop can mean.
    """
    values = {
        "timestamp_format": reading.timestamp_format,
        "zone": policy.time_zone,
        "starts_on": policy.starts_on,
        "file_id": file_id,
        "feed": feed,
        "header_lines": reading.header_lines,
    }
    connection.execute(statement(f"type_{feed}"), values)
    refuse_implausible(connection, statement("implausible_events"), values, reading.header_lines)
    connection.execute(statement(f"insert_{feed}"), values)
    connection.execute(statement("quarantine_events"), values)
    return [
        Total(row.fate, row.reason, row.rows, None)
        for row in connection.execute(
            text(
                "SELECT CASE WHEN is_known THEN 'skipped' WHEN reason IS NOT NULL THEN 'rejected' ELSE 'accepted' END AS fate,"
                " coalesce(reason, CASE WHEN is_known THEN 'already_imported' ELSE :feed END) AS reason, count(*) AS rows"
                " FROM typed_event GROUP BY 1, 2"
            ),
            values,
        )
    ]
