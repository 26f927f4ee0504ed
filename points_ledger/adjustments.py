"""Adjustments: points given or taken by hand, proposed by one login and approved by another (design 2.10)."""

import datetime as dt

from sqlalchemy import Connection, text


def propose(
    connection: Connection,
    *,
    member_no: str,
    points: int,
    day: dt.date,
    valid_through: dt.date | None,
    reason_code: str,
    reason: str,
) -> int:
    """Propose to give (``points`` > 0) or take points; return the approval's number. Nothing is posted.

    The same proposal, while it waits, answers with the same number. Without ``valid_through`` the points last as long as
    points earned on ``day``.

    Raises:
        sqlalchemy.exc.DBAPIError: PL004, nobody has that number; PL006, fewer points are there; PL009, the reason code
            is not in the programme, or the reason says nothing; PL034, above the limits of this login.
    """
    return int(
        connection.execute(
            text("SELECT points.propose_adjustment(:member_no, :points, :day, :valid_through, :reason_code, :reason)"),
            {
                "member_no": member_no,
                "points": points,
                "day": day,
                "valid_through": valid_through,
                "reason_code": reason_code,
                "reason": reason,
            },
        ).scalar_one()
    )
