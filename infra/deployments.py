"""Every deployment, as data: which flow, when, who owns it, and what happens to people when it does not run.

Adding a job means adding a stanza here; ``registration`` tells a Prefect server.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

OURS: Final = "loyalty"  # the tag that tells our deployments from those of operators
ANOTHER_RUN = Literal["cancel", "wait"]


@dataclass(frozen=True)
class Deployment:
    """One way of starting one flow."""

    entrypoint: str  # dots only: by file path the module would exist twice
    name: str
    owner: str
    description: str
    consequence: str
    runbook: str | None = None
    cron: str | None = None
    overdue_after_hours: int | None = None
    concurrency: ANOTHER_RUN | None = "wait"  # what a run does while another one is going on
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What the UI shows beside the deployment."""
        lines = [self.description, f"**If it does not run:** {self.consequence}", f"**Owner:** {self.owner}"]
        return "\n\n".join(lines + ([f"**Runbook:** `{self.runbook}`"] if self.runbook else []))

    @property
    def all_tags(self) -> list[str]:
        """Tags for the UI's filters."""
        return [OURS, f"owner/{self.owner}", *self.tags]


DEPLOYMENTS: Final = (
    Deployment(
        entrypoint="flows.night.close_night",
        name="nightly",
        cron="15 0 * * *",
        overdue_after_hours=26,
        owner="ledger",
        description="Close every business date that is over, in order: feeds, checks, close and seal, tiers, expiry, "
        "notices. Safe to start again at any time: what is done stays done.",
        consequence="The day stays open: nothing expires, tiers do not move, no notices go out. The next night "
        "catches up in order; members lose nothing meanwhile.",
        runbook="docs/howto/rerun-a-night.md",
        concurrency="cancel",
        tags=("night",),
    ),
    Deployment(
        entrypoint="flows.notices.send_notices",
        name="every-quarter-hour",
        cron="*/15 * * * *",
        overdue_after_hours=3,
        owner="members",
        description="Send the notices that are due: those of the night, those that waited for the member's morning, and those "
        "that a provider refused for a while. Safe to start again.",
        consequence="Members are told late. Where the programme demands notice, points that nobody was told of do not lapse.",
        runbook="docs/howto/send-notices.md",
        concurrency="cancel",
        tags=("notices",),
    ),
    Deployment(
        entrypoint="flows.checks.check_ledger",
        name="daily",
        cron="30 4 * * *",
        overdue_after_hours=26,
        owner="ledger",
        description="Run the checks that are due over the whole ledger, in one snapshot, and keep what they find: the "
        "nightly ones every day, the weekly ones on Sundays, all on a month's last day. It changes nothing else.",
        consequence="What went wrong outside of what the nights touched is found later. Members lose nothing by it.",
        runbook="docs/howto/handle-a-finding.md",
        tags=("checks",),
    ),
    Deployment(
        entrypoint="flows.backup.back_up_ledger",
        name="every-night",
        cron="30 2 * * *",
        overdue_after_hours=26,  # of its runs; the catalogue is asked as well: infra/backup_alerts.py
        owner="operations",
        description="Back the ledger up into the bucket, encrypted and signed, and remove the backups that retention no longer "
        "keeps. Safe to start again.",
        consequence="What was posted since the last good backup is lost if the database is.",
        runbook="docs/howto/restore.md",
        tags=("backup",),
    ),
    Deployment(
        entrypoint="flows.drill.drill_restore",
        name="every-week",
        cron="30 5 * * 0",
        overdue_after_hours=240,  # as above
        owner="operations",
        description="Restore the newest backup into a scratch Postgres, verify every wallet, lot and seal, and compare the totals "
        "with those of the moment that was backed up. Nothing in the ledger is touched.",
        consequence="Nobody knows whether the backups can be restored. Retention stops removing old ones.",
        runbook="docs/howto/restore.md",
        tags=("backup",),
    ),
    Deployment(
        entrypoint="flows.month.reconcile_month",
        name="monthly",
        cron="0 6 2 * *",
        overdue_after_hours=24 * 32,
        owner="ledger",
        description="Audit the month before: recompute its orders, returns and seals, let every roll-forward foot, and record "
        "the report once. An auditor then signs it with `loyalty month sign`.",
        consequence="The month has no report to sign. Members lose nothing by it.",
        runbook="docs/howto/close-a-month.md",
        tags=("month",),
    ),
    Deployment(
        entrypoint="flows.orders.import_orders",
        name="on-demand",
        owner="ledger",
        description="Import a file of orders and returns. Rows that cannot be posted are kept, with the reason.",
        consequence="Members do not see the points of these orders.",
        tags=("import",),
    ),
    Deployment(
        entrypoint="flows.redemptions.import_redemptions",
        name="on-demand",
        owner="ledger",
        description="Import a file of redemptions. Rows that cannot be posted are kept, with the reason.",
        consequence="Points that were spent at a till still show as available.",
        tags=("import",),
    ),
    Deployment(
        entrypoint="flows.cancellations.import_cancellations",
        name="on-demand",
        owner="ledger",
        description="Import a file of cancelled redemptions: the points go back where they came from.",
        consequence="Members miss points of redemptions that were cancelled.",
        tags=("import",),
    ),
    Deployment(
        entrypoint="flows.activities.import_activities",
        name="on-demand",
        owner="ledger",
        description="Import a file of activities such as check-ins. Rows that cannot be posted are kept, with the reason.",
        consequence="Members miss the bonuses that these activities earned them.",
        tags=("import",),
    ),
    Deployment(
        entrypoint="flows.members.import_members",
        name="on-demand",
        owner="members",
        description="Import a file of members and their contact data.",
        consequence="New members cannot earn where enrolment from orders is off, and cannot be told anything.",
        tags=("import",),
    ),
    Deployment(
        entrypoint="flows.erasure.erase_member",
        name="on-demand",
        owner="members",
        description="Destroy the contact data of a member who asked for it, and the key of everything sealed with it. The ledger "
        "stays. It cannot be undone, and a restored backup does it again.",
        consequence="Data of a member who asked to be forgotten is kept.",
        runbook="docs/howto/erase-a-member.md",
        concurrency=None,
        tags=("privacy",),
    ),
    Deployment(
        entrypoint="flows.programme_change.change_policy",
        name="on-demand",
        owner="programme",
        description="Propose a change of the programme from a day on. What only gives more is in force at once; what takes "
        "something away ends as WaitsForApproval, and a second person approves it with `loyalty policy approve`.",
        consequence="Members go on earning by the rules that are in force.",
        runbook="docs/howto/change-the-programme.md",
        tags=("programme",),
    ),
    Deployment(
        entrypoint="flows.simulation.simulate_policy",
        name="on-demand",
        owner="programme",
        description="Close days of the past again with a proposed programme, in a scratch database, and report who gains, who "
        "loses, points and money by tier, and the liability. Nothing in the ledger is touched.",
        consequence="A change of the programme is decided without knowing what it does.",
        runbook="docs/howto/change-the-programme.md",
        tags=("programme",),
    ),
    Deployment(
        entrypoint="flows.adjustments.adjust_points",
        name="on-demand",
        owner="ledger",
        description="Propose to give a member points, or to take them. Nothing is posted before a second person approves "
        "it with `loyalty approve`, under a login of their own.",
        consequence="A member waits for points they were promised.",
        runbook="docs/howto/correct-a-mistake.md",
        concurrency=None,
        tags=("four-eyes",),
    ),
    Deployment(
        entrypoint="flows.reinstatements.reinstate_points",
        name="on-demand",
        owner="ledger",
        description="Propose to give lapsed points back, once, as a new lot. Nothing is posted before a second person "
        "approves it with `loyalty approve`, under a login of their own.",
        consequence="A member misses points that lapsed by mistake.",
        runbook="docs/howto/correct-a-mistake.md",
        concurrency=None,
        tags=("four-eyes",),
    ),
    Deployment(
        entrypoint="flows.undo.undo_run",
        name="on-demand",
        owner="ledger",
        description="Show what undoing a run would do, and propose it. Nothing is undone before a second person approves "
        "it with `loyalty approve`; started again after that, it finishes an undo that was cut short.",
        consequence="The entries of a run that was wrong stay in force.",
        runbook="docs/howto/correct-a-mistake.md",
        tags=("four-eyes",),
    ),
    Deployment(
        entrypoint="flows.redemption_blocks.block_redemptions",
        name="on-demand",
        owner="ledger",
        description="Refuse a member's redemptions, holds and gifts from now on, with a reason. In force at once; they go "
        "on earning and lose no points by it.",
        consequence="Points that look stolen can be spent before somebody has looked.",
        runbook="docs/howto/handle-a-fraud-finding.md",
        concurrency=None,
        tags=("fraud",),
    ),
    Deployment(
        entrypoint="flows.redemption_releases.release_redemptions",
        name="on-demand",
        owner="ledger",
        description="Propose to end the block on a member's redemptions. A second person, not the one who set it, releases "
        "it with `loyalty approve`, under a login of their own.",
        consequence="A member who did nothing wrong cannot spend their points.",
        runbook="docs/howto/handle-a-fraud-finding.md",
        concurrency=None,
        tags=("fraud", "four-eyes"),
    ),
)
