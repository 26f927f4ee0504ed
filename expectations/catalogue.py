"""The checks on the ledger, as data: what must be true, how bad it is when it is not, who owns it, and what to do.

Each check is a named statement of ``points_ledger/sql`` that returns the offending rows: first the columns of ``keys``, by
which a finding is known for as long as it lives, and ``difference``, the row in words without personal data. The statements
are bound to dates (``as_of``, ``since``, ``business_date``) and never read the clock. docs/reference/checks.md lists them.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal

from points_ledger.check_findings import Repair, Severity

RUNBOOK: Final = "docs/runbooks/checks.md"
Cadence = Literal["night", "week", "month"]
PROJECTION: Final = "Somebody wrote past the verbs. Propose the rebuild from the entries, then find out who and how."
ENTRIES: Final = "The entries themselves were changed. Compare them with the newest proven backup and the seals; adjust with four eyes."
FEED: Final = "Compare with the shop's file and the newest proven backup; put the difference right by an adjustment."


@dataclass(frozen=True)
class Check:
    """One thing that must be true. ``night``: the statement of its incremental form, which every night runs."""

    id: str
    title: str
    severity: Severity
    owner: str
    keys: tuple[str, ...]
    sql: str
    cadence: Cadence
    advice: str
    night: str | None = None
    repair: Repair | None = None

    @property
    def runbook(self) -> str:
        """The page and the place on it that say what to do."""
        return f"{RUNBOOK}#{self.id.lower()}"


MEMBER = ("member_id",)
LOT = ("member_id", "lot_seq")
ENTRY = ("member_id", "seq")
ORDER = ("member_id", "order_no")

# fmt: off
CATALOGUE: Final = (
    Check("I1", "A wallet is the sum of its entries, numbered without gaps", "stop", "ledger", MEMBER,
          "verify_i1", "night", PROJECTION, night="gate_i1", repair="rebuild"),
    Check("I2", "A lot is what its entries say: points, rest, expired, dates", "stop", "ledger", LOT,
          "verify_i2", "night", PROJECTION, night="gate_i2", repair="rebuild"),
    Check("I3", "The lots of a member add up to the wallet, holds to what is held", "stop", "ledger", MEMBER,
          "verify_i3", "night", PROJECTION, night="gate_i3", repair="rebuild"),
    Check("I4", "Running balances, debts and rests chain from entry to entry", "stop", "ledger", ENTRY,
          "verify_i4", "night", ENTRIES, night="gate_i4"),
    Check("I5", "The postings of every book date balance across accounts", "stop", "ledger", ("book_date", "what"),
          "verify_i5", "night", ENTRIES, night="verify_i5"),
    Check("I6", "No spend took a lapsed or pending lot, no expiry a live one", "stop", "ledger", ENTRY,
          "verify_i6", "night", "Give the points back: loyalty reinstate for an expiry, loyalty adjust for a spend.",
          night="verify_i6"),
    Check("I7", "Nothing due is left behind a close", "stop", "ledger", LOT,
          "verify_i7", "night", "Propose the expiry that was missed, after making sure that the lot's last day is right.",
          night="verify_i7", repair="expire"),
    Check("I8", "Each key maps to one whole journal, each journal has its key", "stop", "ledger",
          ("member_id", "source", "source_ref"), "verify_i8", "week",
          "A key that is missing lets its event be posted twice: hold the event's file back until it is explained."),
    Check("I9", "Nothing was recorded after its day closed", "stop", "ledger", ENTRY,
          "verify_i9", "night", ENTRIES, night="verify_i9"),
    Check("I10", "Every closed day has its seal, which its entries give again", "stop", "ledger", ("book_date",),
          "verify_i10", "week", ENTRIES),
    Check("I11", "Nothing is negative", "stop", "ledger", ("member_id", "what", "seq"),
          "verify_i11", "night", PROJECTION, night="gate_i11", repair="rebuild"),
    Check("I12", "The book dates of a member never go back", "stop", "ledger", ENTRY, "verify_i12", "week", ENTRIES),
    Check("I13", "A lot expired at most once", "stop", "ledger", LOT,
          "verify_i13", "week", "Give the points of the second expiry back: loyalty adjust."),
    Check("I14", "A debt is what was owed less what was repaid", "stop", "ledger", MEMBER,
          "verify_i14", "week", PROJECTION, repair="rebuild"),
    Check("legal-posting", "Every entry is a legal posting, with the sign of its kind", "stop", "ledger", ENTRY,
          "check_legal_posting", "night", ENTRIES, night="check_legal_posting"),
    Check("posted-once", "An event of the shop stands in one journal of one member", "stop", "ledger",
          ("source", "source_ref"), "check_posted_once", "week", "Take the second posting back: loyalty adjust."),
    Check("reversals", "A reversal names what it reverses and gives back no more", "stop", "ledger",
          ("member_id", "reversal_of"), "check_reversals", "week", "Take back what was given twice: loyalty adjust."),
    Check("entry-references", "The member, run, approval and version an entry names are there", "stop", "ledger", ENTRY,
          "check_entry_references", "night", ENTRIES, night="check_entry_references"),
    Check("booked-late", "An entry is booked within 60 days, or says why not", "warn", "ledger", ENTRY,
          "check_booked_late", "night", "Ask the feed's owner why it came late; waive it when the answer is good.",
          night="check_booked_late"),
    Check("effective-ahead", "No entry is effective after its book date", "stop", "ledger", ENTRY,
          "check_effective_ahead", "night", ENTRIES, night="check_effective_ahead"),
    Check("validity", "Earned points are usable and valid as their version says", "stop", "programme", LOT,
          "check_validity", "night", "Find out which of the two is right; too short a validity is given back by loyalty adjust.",
          night="check_validity"),
    Check("stale-runs", "Every run of an earlier date is done", "warn", "ledger", ("run_id",),
          "check_stale_runs", "night", "Run the job again: docs/howto/rerun-a-night.md.", night="check_stale_runs"),
    Check("left-waiting", "Nothing the shop told in time waits behind a closed day", "warn", "ledger", ("what", "ref"),
          "check_left_waiting", "night", "Run the night again; look why the event was passed over.", night="check_left_waiting"),
    Check("deferred-expiry", "A lapsed lot waits for its hold at most 31 days", "warn", "ledger", LOT,
          "check_deferred_expiry", "night", "Ask the till to capture or release the hold.", night="check_deferred_expiry"),
    Check("expired-without-notice", "Nothing lapsed without the notice that its version asks for", "stop", "programme", LOT,
          "check_expired_without_notice", "night", "Give the points back: loyalty reinstate. Then find out who cleared them, and how.",
          night="check_expired_without_notice"),
    Check("expiry-deferred", "No points wait for a notice that names their last day", "warn", "programme", LOT,
          "check_expiry_deferred", "night", "Send what waits: loyalty notices. Ask the members whom nothing reaches for an address.",
          night="check_expiry_deferred"),
    Check("policy-of-the-day", "An order was judged by the version in force on its day", "stop", "programme", ORDER,
          "check_policy_of_the_day", "week", "Compare the two versions: loyalty policy diff. Adjust what members lost."),
    Check("tier-projection", "A member holds what the newest decision says", "stop", "programme", MEMBER,
          "check_tier_projection", "week", PROJECTION, repair="rebuild_tier"),
    Check("tier-recomputed", "A decision on a tier can be computed again", "stop", "programme", ("member_id", "decision_no"),
          "check_tier_recomputed", "week", "Explain the member's tier; protect it when it fell by mistake."),
    Check("daily-cap", "Nobody earned more in a day than the cap", "warn", "programme", ("member_id", "effective_on"),
          "check_daily_cap", "week", "Look at the member's orders of that day; take back by loyalty adjust what is too much."),
    Check("power", "What needs two people had them, and was posted as approved", "stop", "ledger", ENTRY,
          "check_power", "week", "Somebody went around the approval. Close the login, then reverse by loyalty adjust."),
    Check("orders-without-earning", "Every order with purchases was judged", "warn", "ledger", ORDER,
          "check_orders_without_earning", "week", "Give the member the points: loyalty adjust."),
    Check("earnings-without-order", "Points booked for an order are those it earned", "stop", "ledger", ORDER,
          "check_earnings_without_order", "week", FEED),
    Check("earning-arithmetic", "What an order earned follows from its lines and rules", "stop", "programme", ORDER,
          "check_earning_arithmetic", "month", FEED),
    Check("order-lines", "An order has the lines and the amount it came with", "stop", "ledger", ORDER,
          "check_order_lines", "week", FEED),
    Check("returns", "A return took back the points it says", "stop", "ledger", ("member_id", "ref"),
          "check_returns", "week", FEED),
    Check("over-returned", "No line gives back more than it had, no order more points than it earned", "stop", "ledger", ORDER,
          "check_over_returned", "week", "Give back what was taken too much: loyalty adjust."),
    Check("redemptions", "A redemption is posted exactly when its points were spent", "stop", "ledger", ("redemption_no",),
          "check_redemptions", "week", FEED),
    Check("cancellations", "A cancellation is posted exactly when its points came back", "stop", "ledger", ("redemption_no",),
          "check_cancellations", "week", FEED),
    Check("transfers", "What one member gave, one other got", "stop", "ledger", ("journal_id",),
          "check_transfers", "week", ENTRIES),
    Check("guards-in-place", "Triggers, constraints and indexes of the ledger are switched on", "stop", "ledger", ("object",),
          "check_guards_in_place", "night", "Switch it on again as the schema's owner; then run every check.",
          night="check_guards_in_place"),
)
# fmt: on
BY_ID: Final = {check.id: check for check in CATALOGUE}


def due(as_of: dt.date) -> tuple[Check, ...]:
    """What is due on a business date: the nightly checks, on Sundays the weekly ones too, on a month's last day all."""
    is_month_end = (as_of + dt.timedelta(days=1)).day == 1
    is_sunday = as_of.isoweekday() == 7
    return tuple(
        check
        for check in CATALOGUE
        if check.cadence == "night" or is_month_end or (is_sunday and check.cadence == "week")
    )


def nightly() -> tuple[Check, ...]:
    """What every night runs, in its incremental form."""
    return tuple(check for check in CATALOGUE if check.night is not None)
