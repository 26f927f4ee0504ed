"""Steps of a reinstatement: put it before a second person. Its approval posts it (``tasks.approvals``)."""

from prefect import task

from points_ledger import reinstatements
from points_ledger.errors import translated
from tasks import ledger


def propose(member_no: str, lot: int, reason_code: str, reason: str, valid_days: int | None = None) -> int:
    """Propose to give back what lapsed from a lot; return the approval's number.

    Raises:
        LedgerError: nothing of that lot lapsed, it was given back already, or the reason does not do.
    """
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        return reinstatements.propose(
            connection, member_no=member_no, lot=lot, valid_days=valid_days, reason_code=reason_code, reason=reason
        )


@task(name="propose-reinstatement", task_run_name="propose for {member_no}")
def propose_step(member_no: str, lot: int, reason_code: str, reason: str, valid_days: int | None) -> int:
    """``propose`` as a step of a flow; the same proposal, while it waits, is proposed once."""
    return propose(member_no, lot, reason_code, reason, valid_days)
