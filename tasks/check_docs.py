"""Where the pages of the checks go: one folder a run, and the page for on-call; to S3, or to a folder here."""

from pathlib import Path
from typing import Any, Final

from prefect import task

from infra import embedded, object_store
from infra.backup_refusals import StorageFailed
from infra.settings import settings
from tasks.checks import Report, on_call_page

ON_CALL: Final = "on-call.html"
PATIENCE_SECONDS: Final = 5.0  # the findings are in the ledger: nobody waits long for a page


def write(report: Report, folder: Path) -> Path:
    """Write the pages of a run into a folder of its own; return it.

    Raises:
        OSError: it cannot be written.
    """
    place = folder / _name(report)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in _pages(report).items():
        (place / name).write_text(content, encoding="utf-8")
    return place


def publish(report: Report) -> list[str]:
    """Store the pages of a run in S3, and the page for on-call where it always is; return their addresses.

    Raises:
        StorageFailed: the S3 server refused, or is gone.
    """
    store = object_store.connect(embedded.storage_access(settings()), give_up_seconds=PATIENCE_SECONDS)
    root = f"{settings().report_prefix}/checks"
    pages = {f"{root}/{_name(report)}/{name}": content for name, content in _pages(report).items()}
    pages[f"{root}/{ON_CALL}"] = pages[f"{root}/{_name(report)}/{ON_CALL}"]
    for key, content in pages.items():
        store.put(key, content.encode(), content_type=object_store.content_type(key))
    return [f"s3://{store.bucket}/{key}" for key in pages]


@task(name="publish-check-pages")
def publish_step(report: Report) -> dict[str, Any]:
    """``publish`` as a step of a flow; that it did not work is an answer, for the findings are in the ledger."""
    try:
        return {"stored": publish(report)}
    except StorageFailed as refused:
        return {"refused": str(refused)}


def _name(report: Report) -> str:
    return f"{report.as_of}/run-{report.check_run_id}"


def _pages(report: Report) -> dict[str, str]:
    return report.documents | {ON_CALL: on_call_page()}
