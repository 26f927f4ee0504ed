"""What the ledger refuses, by name.

    LedgerError
    ├── InsufficientPoints      PL006
    ├── UnknownMember           PL004
    ├── UnknownEvent            PL005
    ├── OtherContent            PL003   the same key with other content
    ├── AlreadyEnded            PL007   a hold, an approval or an expiry that was dealt with
    ├── WaitsForApproval        PL012
    ├── SamePerson              four eyes: the proposer approved
    ├── NotAllowed              42501   this login may not do that
    ├── DayNotOpen              PL001 · PL008
    ├── AppendOnly              PL002
    ├── InvalidRequest          PL009
    ├── EntriesDoNotContinue    PL010 · PL011
    ├── TooEarly                PL020   a change of the programme from a day that is closed, judged or too near
    ├── Overtaken               PL021   another version of the programme came in between
    ├── NeedsReason             a proposal that takes something away, without a reason
    ├── TransfersDisabled       PL030
    ├── NotBound                PL031
    ├── CoolingOff              PL032
    ├── AboveTransferLimit      PL033
    ├── AboveOwnLimit           PL034   more than this login may propose
    ├── LastProvenBackup        PL060   the newest proven backup stays
    ├── OpenFindings            PL050   a month is closed while findings are open that stop
    ├── OwnMonth                PL051   the login that closed a month signs it
    ├── MonthDeviates           a month whose report does not agree is not closed
    ├── PeriodNotSimulated      days that the ledger does not hold whole
    ├── RedemptionsBlocked      PL040
    ├── OwnCase                 PL041   a block or a finding that another login has to decide about
    ├── NoticesHeld             PL070   a restored or copied database sends nothing until a person says so
    ├── ImplausibleValue        a value no shop can mean: the whole file is refused
    ├── GateFailed              a check before the close found rows
    └── WaitsForPerson          the guard stopped a plan

Problems found in data are values (findings), never exceptions. Each class's docstring is its message.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError


class LedgerError(Exception):
    """The ledger refused."""

    def __init__(self, detail: str = "") -> None:
        """Keep what the database said."""
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        """The docstring, and the facts."""
        message = (self.__doc__ or "").splitlines()[0]
        return f"{message} {self.detail}".strip() if self.detail else message


class InsufficientPoints(LedgerError):
    """Not enough points are available."""


class UnknownMember(LedgerError):
    """No such member."""


class UnknownEvent(LedgerError):
    """Nothing of that name was posted."""


class OtherContent(LedgerError):
    """This event is already posted with other content."""


class AlreadyEnded(LedgerError):
    """That has been dealt with already."""


class WaitsForApproval(LedgerError):
    """A second person has to approve first."""


class SamePerson(LedgerError):
    """Nobody approves what they proposed themselves."""


class NotAllowed(LedgerError):
    """This login may not do that."""


class DayNotOpen(LedgerError):
    """That business date takes no entries."""


class AppendOnly(LedgerError):
    """Nothing in the ledger is changed or deleted."""


class InvalidRequest(LedgerError):
    """The request makes no sense."""


class EntriesDoNotContinue(LedgerError):
    """The entries do not continue the wallet or the lot."""


class TooEarly(LedgerError):
    """The programme cannot change that early."""


class Overtaken(LedgerError):
    """Another version of the programme came in between."""


class NeedsReason(LedgerError):
    """The second person has to know why."""


class TransfersDisabled(LedgerError):
    """Members cannot give points away in this programme."""


class NotBound(LedgerError):
    """Points can be given to bound members only."""


class CoolingOff(LedgerError):
    """The binding is too new for a gift."""


class AboveTransferLimit(LedgerError):
    """A member may not give that many points away in a day or a month."""


class AboveOwnLimit(LedgerError):
    """This login may not propose that many points."""


class LastProvenBackup(LedgerError):
    """The newest proven backup is not removed."""


class OpenFindings(LedgerError):
    """A month is not closed while the checks have findings that stop: see loyalty findings --open."""


class OwnMonth(LedgerError):
    """Nobody signs a month that they closed themselves."""


class MonthDeviates(LedgerError):
    """A month that does not agree is neither closed nor signed."""


class PeriodNotSimulated(LedgerError):
    """That period cannot be simulated."""


class RedemptionsBlocked(LedgerError):
    """The member's redemptions are blocked: see loyalty screens list."""


class OwnCase(LedgerError):
    """Another login has to decide that: not the one that set the block, nor the one a finding is about."""


class NoticesHeld(LedgerError):
    """This database was restored or copied, and sends nothing before a person says: loyalty notices release."""


class ImplausibleValue(LedgerError):
    """A value no shop can mean."""

    def __init__(self, line: int, column: str, value: str, why: str) -> None:
        """Keep where it stands: ``line`` counts from 1 with the header, ``column`` is ours."""
        super().__init__()
        self.args = (line, column, value, why)
        self.line = line
        self.column = column
        self.value = value
        self.why = why

    def __str__(self) -> str:
        """The place, the value and the reason."""
        return f'line {self.line}, column {self.column}: "{self.value}" {self.why}'


class GateFailed(LedgerError):
    """A check before the close found rows that must not be."""

    def __init__(self, business_date: dt.date, failed: dict[str, list[str]]) -> None:
        """``failed`` maps a check's id to the first rows it found."""
        super().__init__()
        self.args = (business_date, failed)
        self.business_date = business_date
        self.failed = failed

    def __str__(self) -> str:
        """The checks by id, each with its first row."""
        found = "; ".join(f"{check}: {rows[0]}" for check, rows in self.failed.items())
        return f"{self.business_date} stays open, its checks failed. {found}. See docs/howto/rerun-a-night.md"


class WaitsForPerson(LedgerError):
    """The guard stopped a plan that is out of line; a second login has to accept it."""

    def __init__(self, run_id: int, business_date: dt.date, why: str) -> None:
        """Name the run whose plan waits, and the guard's reason."""
        super().__init__()
        self.args = (run_id, business_date, why)
        self.run_id = run_id
        self.business_date = business_date
        self.why = why

    def __str__(self) -> str:
        """The reason, and the command that continues."""
        return (
            f"The night of {self.business_date} waits: {self.why}. Nothing was taken. "
            f"After looking at the plan, a second person continues with: loyalty close --accept-plan {self.run_id}"
        )


_BY_SQLSTATE: dict[str, type[LedgerError]] = {
    "PL001": DayNotOpen,
    "PL002": AppendOnly,
    "PL003": OtherContent,
    "PL004": UnknownMember,
    "PL005": UnknownEvent,
    "PL006": InsufficientPoints,
    "PL007": AlreadyEnded,
    "PL008": DayNotOpen,
    "PL009": InvalidRequest,
    "PL010": EntriesDoNotContinue,
    "PL011": EntriesDoNotContinue,
    "PL012": WaitsForApproval,
    "PL020": TooEarly,
    "PL021": Overtaken,
    "PL030": TransfersDisabled,
    "PL031": NotBound,
    "PL032": CoolingOff,
    "PL033": AboveTransferLimit,
    "PL034": AboveOwnLimit,
    "PL040": RedemptionsBlocked,
    "PL041": OwnCase,
    "PL060": LastProvenBackup,
    "PL050": OpenFindings,
    "PL051": OwnMonth,
    "PL070": NoticesHeld,
    "42501": NotAllowed,
}
_BY_CONSTRAINT: dict[str | None, type[LedgerError]] = {"four_eyes": SamePerson, "another_login_releases": OwnCase}


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's error into ours, by SQLSTATE or constraint name; others pass through.

    Raises:
        LedgerError: the class that belongs to the SQLSTATE.
    """
    try:
        yield
    except DBAPIError as error:
        diagnosis = getattr(error.orig, "diag", None)
        by_constraint = _BY_CONSTRAINT.get(getattr(diagnosis, "constraint_name", None))
        if by_constraint is not None:
            raise by_constraint from error
        known = _BY_SQLSTATE.get(getattr(error.orig, "pgcode", None) or "")
        if known is None:
            raise
        raise known(getattr(diagnosis, "message_primary", None) or str(error.orig)) from error
