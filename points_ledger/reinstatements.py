"""Reinstatements: lapsed points given back as a new lot, proposed by one login and approved by another (design 2.10)."""

from sqlalchemy import Connection, text


def propose(
    connection: Connection, *, member_no: str, lot: int, valid_days: int | None, reason_code: str, reason: str
) -> int:
    """Propose to give back what lapsed from a lot; return the approval's number. Nothing is posted.

    The points are valid for ``valid_days`` (None: the programme's ``reinstate_days``) from the day they are posted.

    Raises:
        sqlalchemy.exc.DBAPIError: PL004, nobody has that number; PL005, nothing of that lot lapsed; PL007, it was given
            back already; PL009, the reason code is not in the programme, or the reason says nothing.
    """
    return int(
        connection.execute(
            text("SELECT points.propose_reinstatement(:member_no, :lot, :valid_days, :reason_code, :reason)"),
            {
                "member_no": member_no,
                "lot": lot,
                "valid_days": valid_days,
                "reason_code": reason_code,
                "reason": reason,
            },
        ).scalar_one()
    )
