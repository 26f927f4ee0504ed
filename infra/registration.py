"""Tells a Prefect server about the deployments of ``infra.deployments``; run it again as often as you like.

It keeps what operators paused, and takes away what is no longer listed. ``python -m infra.registration`` does that in a
process of its own, so that the supervisor need not import the flows.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import importlib.metadata
import sys
import time
from typing import TYPE_CHECKING, Any

from infra.deployments import DEPLOYMENTS, OURS, Deployment
from infra.prefect_api import POOL, connect
from infra.settings import settings

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.flows import Flow


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
