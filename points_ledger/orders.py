"""Orders as a feed: purchases and returns, line by line, taken order by order.

An order is one of a member when its lines carry a member number; lines of guests are counted and skipped. What
orders earn stands in ``sql/earn_orders.sql``, what returns take back in the migration's ``post_return``.
"""

from sqlalchemy import Connection, text

from points_ledger.feeds import Reading, Total, refuse_implausible
from points_ledger.policy import Policy
from points_ledger.queries import statement


def accept(connection: Connection, reading: Reading, policy: Policy, file_id: int) -> list[Total]:
    """Store the staged orders as waiting events; return the control total.

    Raises:
        ImplausibleValue: a quantity, price or date beyond anything a shop can mean.
    """
    values = {
        "decimal": reading.decimal,
        "timestamp_format": reading.timestamp_format,
        "zone": policy.time_zone,
        "starts_on": policy.starts_on,
        "enrol": policy.enrol_from_orders,
        "file_id": file_id,
        "header_lines": reading.header_lines,
    }
    connection.execute(statement("type_order_lines"), values)
    refuse_implausible(connection, statement("implausible_order_lines"), values, reading.header_lines)
    connection.execute(text("ANALYZE typed_line"))
    connection.execute(statement("group_order_lines"), values)
    connection.execute(text("ANALYZE typed_order"))
    totals = [
        Total(row.fate, row.reason, row.lines, row.money)
        for row in connection.execute(statement("orders_control_total"))
    ]
    connection.execute(statement("quarantine_order_lines"), values)
    connection.execute(statement("enrol_from_orders"), values)
    for name in ("insert_orders", "insert_order_lines", "insert_return_lines"):
        connection.execute(statement(name), values)
    return totals
