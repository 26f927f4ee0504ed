"""Steps of ``loyalty demo``: a generated shop, imported and closed through Prefect, and what to look at afterwards."""

import datetime as dt
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from infra import embedded, prefect_api
from infra.database import MissingDatabaseUrl
from infra.demo_contacts import write_contacts
from infra.demo_shop import write_shop
from infra.settings import settings
from points_ledger import totals
from points_ledger.queries import statement
from tasks import adjustments, approvals, backup, contacts, evidence, ledger, month, undo
from tasks.feeds import import_feed

DAYS = 60
MEMBERS = 400
SEED = 20260901
REACHABLE = 0.25  # the share of members with an address: enough to fill an inbox in a few seconds
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def shop_folder() -> Path:
    """Where the generated files stand, to be looked at."""
    return settings().home / "demo"


def write_files(starts_on: dt.date) -> list[tuple[str, Path]]:
    """Write the shop's feeds; the same bytes every time. Return (feed, file) in the order of import."""
    folder = shop_folder()
    folder.mkdir(parents=True, exist_ok=True)
    files = write_shop(folder, starts_on=starts_on, days=DAYS, members=MEMBERS, seed=SEED)
    return [
        ("members", files.members),
        ("members", write_contacts(files.members, share=REACHABLE, seed=SEED)),
        ("orders", files.orders),
        ("redemptions", files.redemptions),
        ("cancellations", files.cancellations),
    ]


def last_day(starts_on: dt.date) -> dt.date:
    """The last date of the generated shop."""
    return starts_on + dt.timedelta(days=DAYS - 1)


def keep_contacts() -> None:
    """Make the keys of contacts, where there are none."""
    if contacts.keys().master is None:
        contacts.generate_keys()


@dataclass(frozen=True)
class Told:
    """What members were told: accepted notices by kind and language; lots that wait for their notice, by why."""

    accepted: dict[str, dict[str, int]]
    deferred: dict[str, int]
    not_accepted: int


def told() -> Told:
    """Counted from the ledger."""
    accepted: dict[str, dict[str, int]] = {}
    with ledger.engine().connect() as connection:
        for row in connection.execute(statement("notices_accepted")):
            accepted.setdefault(row.kind, {})[row.locale] = row.notices
        deferred = connection.execute(
            text("SELECT why, count(*) AS lots FROM points.lot_deferral GROUP BY why ORDER BY why")
        )
        return Told(
            accepted,
            {row.why: row.lots for row in deferred},
            connection.execute(text("SELECT count(*) FROM points.notice_queue")).scalar_one(),
        )


def start_nights(through: dt.date) -> str:
    """Ask the Prefect server for a run of close-night; return its id.

    Raises:
        infra.prefect_api.ServerUnreachable: the server does not answer.
    """
    api = prefect_api.connect(settings())
    deployment = api.call("GET", "/deployments/name/close-night/nightly")
    run = api.call(
        "POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"through": through.isoformat()}}
    )
    return str(run["id"])


def follow(run_id: str) -> Iterator[tuple[str, str, dt.date | None]]:
    """Yield (state type, state message, last closed date) until the run has ended."""
    api = prefect_api.connect(settings())
    while True:
        run = api.call("GET", f"/flow_runs/{run_id}")
        state = run.get("state") or {}
        with ledger.engine().connect() as connection:
            closed = totals.last_closed(connection)
        yield run["state_type"], state.get("message") or "", closed
        if run["state_type"] in ENDED:
            return
        time.sleep(0.5)


def page(run_id: str) -> str:
    """The run's page in the UI."""
    return prefect_api.ui_url(settings()) + f"/runs/flow-run/{run_id}"


def inbox() -> str:
    """Where the mail sink shows what members were sent."""
    return embedded.inbox_url(settings())


def ui() -> str:
    """The UI's address."""
    return prefect_api.ui_url(settings())


@dataclass(frozen=True)
class Correction:
    """What two people did about a mistake: how many points, and the approval it took."""

    points: int
    approval_id: int
    proposed_by: str
    approved_by: str


GOODWILL = "the parcel arrived broken"
MISTAKE = "prices were typed in pence instead of pounds"


def give_goodwill(member_no: str) -> Correction:
    """Give a member 25 points: proposed under one login, approved and posted under another; once, however often called."""
    if (known := _approved("adjustment", GOODWILL)) is None:
        approvals.approve(adjustments.propose(member_no, "give", 25, "goodwill", GOODWILL))
        known = _approved("adjustment", GOODWILL)
    assert known is not None  # noqa: S101 - approve() raises when it does not post
    return known


def undo_a_mistake() -> Correction:
    """Import a file with wrong prices into the open day, and undo that run under four eyes; once, however often called."""
    if (known := _approved("undo", MISTAKE)) is None:
        day = ledger.open_date()
        file = shop_folder() / "orders-by-mistake.csv"
        rows = [f"WRONG-{n},M10000{n},{day} 10:0{n},MUG-001,1,{250 * n}.00" for n in (1, 2, 3)]
        file.write_text("\n".join(["order_no,member_no,placed_at,sku,quantity,unit_price", *rows, ""]), "utf-8")
        imported = import_feed(str(file), "orders", None)
        with ledger.engine().connect() as connection:
            run_id = connection.execute(
                text("SELECT run_id FROM points.run WHERE job = :job"),
                {"job": f"import-orders-{imported.result.file_id}"},
            ).scalar_one()
        approvals.approve(undo.propose(run_id, "debt", undo.plan(run_id, "debt"), MISTAKE))
        known = _approved("undo", MISTAKE)
    assert known is not None  # noqa: S101 - approve() raises when it is not carried out
    return known


def _approved(what: str, reason: str) -> Correction | None:
    with ledger.engine().connect() as connection:
        row = connection.execute(
            text(
                "SELECT a.approval_id, a.proposed_by, a.approved_by, coalesce(sum(e.points), 0)::bigint AS points"
                " FROM points.approval a LEFT JOIN points.entry e USING (approval_id)"
                " WHERE a.what = :what AND a.reason = :reason AND a.approved_by IS NOT NULL GROUP BY a.approval_id"
            ),
            {"what": what, "reason": reason},
        ).one_or_none()
    return None if row is None else Correction(row.points, row.approval_id, row.proposed_by, row.approved_by)


@dataclass(frozen=True)
class RestoredCopy:
    """A backup, the drill that proved it, and what a copy restored from it answered."""

    backup_id: str
    stored_bytes: int
    drill_seconds: float
    entries: int
    seals: int
    differences: int
    has_same_totals: bool


COPY = "loyalty_restored"


def back_up_and_restore() -> RestoredCopy | None:
    """Back up, drill, restore into a database beside the ledger's, verify there; None on a server of yours.

    Called again with nothing new in the ledger, it uses the backup that was proven.
    """
    if settings().database_url is not None:
        return None
    if not backup.keys().folder.exists():
        backup.generate_keys()
    known = backup.standing()
    with ledger.engine().connect() as connection:
        now, control = totals.totals(connection), totals.control_totals(connection)
    if known.proven is None or backup.vault().manifest(known.proven.backup_id)["facts"]["totals"] != control:
        taken = backup.back_up()["backup_id"]
        backup.drill(taken)
        known = backup.standing()
    assert known.proven is not None  # noqa: S101 - a drill that does not prove it raises, or leaves no proof to read
    cluster = embedded.postgres(settings())
    with cluster.maintenance() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)")
    cluster.create_database(COPY)
    url = cluster.url("postgres", COPY)
    manifest, engine, tools = backup.plan_restore(url, known.proven.backup_id)
    backup.restore(manifest, engine, tools, lambda _: None)
    looked_at, differences = backup.verify_copy(engine, lambda _check, _title: None)
    with engine.connect() as connection:
        same = totals.totals(connection) == now
    engine.dispose()
    stored, seconds = int(known.proven.facts["stored_bytes"]), known.drill_seconds or 0.0
    return RestoredCopy(
        known.proven.backup_id, stored, seconds, looked_at.entries, looked_at.seals, len(differences), same
    )


@dataclass(frozen=True)
class SignedMonth:
    """The demo's first whole month: closed, signed by the auditor's login, its evidence stored, and verified by a stranger."""

    month: str
    headline: str
    signed_by: str
    pack: Path
    verifier: Path
    objects: int
    verdict: str
    is_verified: bool


def sign_a_month(starts_on: dt.date) -> SignedMonth | None:
    """Close, sign, pack and publish the first month of the shop; None where this machine has no login of an auditor.

    The pack is then verified by its own program, in an interpreter of its own. Safe to repeat: it is closed and signed once.
    """
    name = f"{starts_on:%Y-%m}"
    try:
        ledger.engine("auditor")
    except MissingDatabaseUrl:
        return None
    if not evidence.keys().folder.exists():
        evidence.generate_keys()
    made, _ = month.close(name)
    _, recorded = month.sign(name)
    folder = settings().home / "months"
    folder.mkdir(parents=True, exist_ok=True)
    packed = evidence.pack(name, folder / f"evidence-{name}.zip")
    _, stored = evidence.publish(name)
    verifier = folder / "verify_pack.py"
    with zipfile.ZipFile(packed.path) as pack:
        verifier.write_bytes(pack.read(verifier.name))
    answer = subprocess.run(
        [sys.executable, "-I", verifier, packed.path, "--signer", packed.signer], capture_output=True, text=True, check=False
    )  # fmt: skip
    return SignedMonth(
        name, made.report["headline"], recorded.signed_by or "nobody", packed.path, verifier, len(stored),
        (answer.stdout or answer.stderr).strip(), answer.returncode == 0,
    )  # fmt: skip


def upgrades() -> tuple[int, str | None]:
    """How many times a member rose a tier, and the sentence that explains the first."""
    with ledger.engine().connect() as connection:
        rows = connection.execute(
            text("SELECT sentence FROM points.tier_decision WHERE what = 'upgrade' ORDER BY decided_on, member_id")
        ).scalars().all()  # fmt: skip
    return len(rows), rows[0] if rows else None


def promoted() -> tuple[int, str | None]:
    """Orders of the promotion, and its name."""
    with ledger.engine().connect() as connection:
        row = connection.execute(statement("orders_of_a_promotion")).one_or_none()
    return (row.orders, row.name) if row else (0, None)


def telling_member() -> str | None:
    """A member whose story shows most in fewest lines; None while nothing was posted."""
    with ledger.engine().connect() as connection:
        found: str | None = connection.execute(statement("telling_member")).scalar_one_or_none()
        return found
