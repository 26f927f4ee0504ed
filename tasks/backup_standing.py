"""How old the newest backup and its proof are, for ``loyalty status``: what a disaster now would cost."""

import datetime as dt
from typing import Any

from points_ledger import backups
from tasks import ledger


def backup_standing(now: dt.datetime) -> dict[str, Any]:
    """The newest good backup and the newest proof; hours are what would be lost (RPO), seconds what it takes (RTO)."""
    with ledger.engine().connect() as connection:
        known = backups.standing(connection)
    taken = known.newest.taken_at if known.newest else None
    return {
        "backup_id": known.newest.backup_id if known.newest else None,
        "taken_at": taken,
        "age_hours": (now - taken).total_seconds() / 3600 if taken else None,
        "is_late": known.newest is None or known.is_late(now),
        "proven_at": known.proven.proven_at if known.proven else None,
        "is_unproven": known.proven is None or known.is_unproven(now),
        "drill_seconds": known.drill_seconds,
    }
