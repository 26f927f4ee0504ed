"""The architecture, as tests: what review would otherwise have to remember. Each failure names the fix."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.deployments import DEPLOYMENTS

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "points_ledger": set(),
    "expectations": {"points_ledger"},
    "notifications": {"points_ledger"},
    "infra": {"points_ledger"},
    "tasks": {"points_ledger", "expectations", "notifications", "infra"},
    "flows": {"points_ledger", "tasks"},
}
FILES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = [path for path in FILES if "versions" not in path.parts]  # migrations are named by Alembic's rules
JOBS = [path.stem for path in sorted((ROOT / "flows").glob("[!_]*.py"))]
DRAWERS = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
ALONE = ROOT / "infra" / "verify_pack.py"  # one file that goes out by itself, so it cannot be two
ENVIRONMENT = {"environ", "environb", "getenv"}


def relative(path):
    return str(path.relative_to(ROOT))


def tree(path):
    return ast.parse(path.read_text())


def imported_packages(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{relative(path)}:{node.lineno} imports relatively: write the whole name"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_down(path):
    package = path.relative_to(ROOT).parts[0]

    ours = MAY_IMPORT.keys() & set(imported_packages(path))

    upwards = ours - MAY_IMPORT[package] - {package}
    assert not upwards, f"{package} may import {MAY_IMPORT[package]}: move what it needs from {upwards} down"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_name_shadows_nothing_and_is_no_drawer(path):
    assert path.stem not in sys.stdlib_module_names | MAY_IMPORT.keys(), "rename it: this name is taken"
    assert path.stem not in DRAWERS, "rename it after the noun it is about"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_module_opens_with_a_charter_and_stays_short(path):
    text = path.read_text()

    assert ast.get_docstring(ast.parse(text)), "say what belongs in this module, and what does not"
    assert len(text.splitlines()) <= (450 if path == ALONE else 300), "a module this long is about two things"


@pytest.mark.parametrize("path", [path for path in FILES if path != ROOT / "infra" / "settings.py"], ids=relative)
def test_only_the_settings_read_the_environment(path):
    readers = [
        f"{relative(path)}:{node.lineno}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT
        if isinstance(node.value, ast.Name) and node.value.id == "os"
    ]

    assert not readers, "add a setting to infra/settings.py"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_suppression_carries_its_reason(path):
    bare = [
        f"{relative(path)}:{number}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"#\s*(noqa|type:\s*ignore)", line)
        if not re.search(r"#\s*(noqa:\s*[A-Z0-9, ]+|type:\s*ignore\[[\w, -]+\])\s*(-|#|—|–)\s*\S", line)
    ]

    assert not bare, "write the reason behind it: # noqa: S608 - why this one is right"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_is_ours_and_not_a_namesake_from_site_packages(package):
    # A fresh, isolated interpreter: pytest and Prefect put the checkout on sys.path,
    # which would hide the very thing this looks for.
    found = subprocess.run(
        [sys.executable, "-Ic", f"import {package}; print({package}.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert Path(found.stdout.splitlines()[-1]) == ROOT / package / "__init__.py"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment.entrypoint)
def test_a_deployment_names_a_flow_that_really_loads_and_has_an_owner(deployment):
    # Here and not above: Prefect takes a second, and the other tests do not need it.
    from prefect.flows import load_flow_from_entrypoint  # noqa: PLC0415 - see above

    assert ":" not in deployment.entrypoint, "use a module path: flows.orders.import_orders"
    # Without this flag Prefect substitutes a placeholder for a flow that cannot be imported.
    flow = load_flow_from_entrypoint(deployment.entrypoint, use_placeholder_flow=False)
    assert flow.name == deployment.entrypoint.rpartition(".")[2].replace("_", "-"), "a flow is named after its function"
    assert deployment.owner
    assert deployment.consequence
    assert f"owner/{deployment.owner}" in deployment.all_tags


def test_a_schedule_says_when_it_is_overdue_and_what_to_do():
    for deployment in DEPLOYMENTS:
        if deployment.cron is not None:
            assert deployment.overdue_after_hours, f"{deployment.entrypoint}: the watch needs to know"
            assert deployment.runbook, f"{deployment.entrypoint}: whoever is woken needs a next step"


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_one_flow_and_is_deployed(job):
    from prefect import Flow  # noqa: PLC0415 - as above

    module = importlib.import_module(f"flows.{job}")
    own = [value for value in vars(module).values() if isinstance(value, Flow)]

    assert len(own) == 1, "one flow per module: the job is the module's name"
    entrypoints = {deployment.entrypoint for deployment in DEPLOYMENTS}
    assert f"flows.{job}.{own[0].fn.__name__}" in entrypoints, "list it in infra/deployments.py"
