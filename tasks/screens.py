"""Steps of the fraud screens: what was found, and what people decide about it (rules: ``points_ledger.screens``)."""

from prefect import task

from points_ledger import screens
from points_ledger.errors import translated
from points_ledger.screens import Block, Finding
from tasks import ledger


def read(*, is_open: bool) -> tuple[list[Finding], list[Block]]:
    """What the screens found, newest first, and the blocks; all of it, or what is open."""
    ledger.policy()
    with ledger.engine().connect() as connection:
        return screens.findings(connection, is_open=is_open), screens.blocks(connection, is_open=is_open)


def block(member_no: str, reason: str) -> int:
    """Block a member's redemptions; return the block's number, also of one that is there already.

    Raises:
        LedgerError: nobody has that number, or the reason says nothing.
    """
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        return screens.block(connection, member_no=member_no, reason=reason)


def release(member_no: str, reason: str) -> int:
    """Release a member's redemptions, as the approver's login; return the block's number.

    Raises:
        OwnCase: this login set the block.
        LedgerError: there is no block, or the reason says nothing.
    """
    ledger.policy()
    with translated(), ledger.engine("approver").begin() as connection:
        return screens.release(connection, member_no=member_no, reason=reason)


def clear(finding_id: int, reason: str) -> None:
    """Close a finding that somebody looked into.

    Raises:
        LedgerError: unknown, cleared already, about this login, or without a reason.
    """
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        screens.clear(connection, finding_id, reason=reason)


@task(name="block-redemptions", task_run_name="block {member_no}")
def block_step(member_no: str, reason: str) -> int:
    """``block`` as a step of a flow; a member is blocked once."""
    return block(member_no, reason)


@task(name="propose-release", task_run_name="propose release of {member_no}")
def propose_release_step(member_no: str, reason: str) -> int:
    """Propose to release a member; the same proposal, while it waits, is proposed once. Returns the approval's number."""
    ledger.policy()
    with translated(), ledger.engine().begin() as connection:
        return screens.propose_release(connection, member_no=member_no, reason=reason)
