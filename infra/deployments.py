"""Every deployment, as data: which flow, when, who owns it, and what happens to people when it does not run.

Adding a job means adding a stanza here. ``register`` tells a Prefect server; run it again as often as you like. It
keeps what operators paused, and takes away what this file no longer lists. ``python -m infra.deployments`` does
that in a process of its own, so that the supervisor need not import the flows.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import importlib.metadata
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from infra.prefect_api import POOL, connect
from infra.settings import settings

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.flows import Flow

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
        overdue_after_hours=26,
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
        overdue_after_hours=240,
        owner="operations",
        description="Restore the newest backup into a scratch Postgres, verify every wallet, lot and seal, and compare the totals "
        "with those of the moment that was backed up. Nothing in the ledger is touched.",
        consequence="Nobody knows whether the backups can be restored. Retention stops removing old ones.",
        runbook="docs/howto/restore.md",
        tags=("backup",),
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


async def register(time_zone: str, deployments: tuple[Deployment, ...] = DEPLOYMENTS) -> list[str]:
    """Tell the Prefect server (``PREFECT_API_URL``) about every deployment; one sentence per failure.

    One flow that does not import must not keep the night from running, so failures are returned, not raised.
    """
    # Prefect takes a second to import, and whoever only reads the data above must not pay for it.
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - see above
    from prefect.client.schemas.actions import WorkPoolCreate  # noqa: PLC0415 - see above
    from prefect.exceptions import ObjectAlreadyExists  # noqa: PLC0415 - see above
    from prefect.flows import load_flow_from_entrypoint  # noqa: PLC0415 - see above

    problems: list[str] = []
    kept = set()
    async with get_client() as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        for deployment in deployments:
            try:
                # Without the flag Prefect would register a placeholder, and the error would come at night.
                flow: Flow[..., Any] = load_flow_from_entrypoint(deployment.entrypoint, use_placeholder_flow=False)
                kept.add(f"{flow.name}/{deployment.name}")
                await _apply(client, flow, deployment, time_zone)
            except Exception as error:  # any fault of a job's module is a finding about that job
                problems.append(f"{deployment.entrypoint} could not be registered: {type(error).__name__}: {error}")
        if not problems:
            await _remove_others(client, kept)
    return problems


async def _apply(client: "PrefectClient", flow: "Flow[..., Any]", deployment: Deployment, time_zone: str) -> None:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy  # noqa: PLC0415 - as in register
    from prefect.schedules import Cron  # noqa: PLC0415 - as in register
    from prefect.types.entrypoint import EntrypointType  # noqa: PLC0415 - as in register

    old = await _registered(client, f"{flow.name}/{deployment.name}")
    switched_off = {schedule.slug for schedule in old.schedules if not schedule.active} if old else set()
    schedules = [Cron(deployment.cron, timezone=time_zone, slug=deployment.name)] if deployment.cron else []
    strategies = {"cancel": ConcurrencyLimitStrategy.CANCEL_NEW, "wait": ConcurrencyLimitStrategy.ENQUEUE}
    another = deployment.concurrency
    limit = ConcurrencyLimitConfig(limit=1, collision_strategy=strategies[another]) if another else None
    ready = await flow.ato_deployment(
        deployment.name,
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=POOL,
        version=importlib.metadata.version("loyalty-back-office"),
        description=deployment.text,
        parameters=deployment.parameters,
        tags=deployment.all_tags,
        concurrency_limit=limit,
        # Prefect switches on again whatever it is told about; an operator's "off" must survive an upgrade.
        paused=old.paused if old else False,
        schedules=[dataclasses.replace(s, active=s.slug not in switched_off) for s in schedules],
    )
    await ready.aapply()


async def _registered(client: "PrefectClient", name: str) -> "DeploymentResponse | None":
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415 - as in register

    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


async def _remove_others(client: "PrefectClient", kept: set[str]) -> None:
    flows = {flow.id: flow.name for flow in await client.read_flows(limit=200)}
    for found in await client.read_deployments(limit=200):
        if OURS in found.tags and f"{flows.get(found.flow_id)}/{found.name}" not in kept:
            await client.delete_deployment(found.id)


def main() -> int:
    """Wait for the server, register, and say what went wrong on the error output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-zone", required=True)
    parser.add_argument("--wait-seconds", type=float, default=180)
    asked = parser.parse_args()

    import prefect.client.orchestration  # noqa: F401, PLC0415 - while the server is still starting

    server = connect(settings())
    deadline = time.monotonic() + asked.wait_seconds
    while not server.is_ready():
        if time.monotonic() > deadline:
            sys.stderr.write(f"The Prefect server at {server.url} does not answer.\n")
            return 1
        time.sleep(0.1)
    problems = asyncio.run(register(asked.time_zone))
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
