"""What people read, in a real browser: loads nothing but itself, no word on the console, and axe-core finds nothing to object to.

Needs Debian's ``chromium`` and, for axe-core, npm once; skips with the reason where they are not. Screenshots of each page in
light, dark and narrow stay in pytest's temporary folder (``--basetemp``).
"""

import asyncio
import base64
import datetime as dt
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import websockets

from expectations import on_call, run_page, runner
from expectations.catalogue import CATALOGUE
from notifications.month_page import month_page
from points_ledger import check_findings, month

AXE = "4.14.1"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def chromium():
    """The browser, or skip."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs a browser: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def axe(request):
    """The source of axe-core, fetched once into pytest's cache; or skip."""
    folder = request.config.cache.mkdir("axe-core")
    file = folder / f"axe-{AXE}.min.js"
    npm = shutil.which("npm") or "npm"
    if not file.exists():
        try:
            subprocess.run(
                [npm, "pack", f"axe-core@{AXE}", "--pack-destination", folder], check=True, capture_output=True, timeout=60
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            pytest.skip(f"needs npm to fetch axe-core {AXE} once")
        with tarfile.open(folder / f"axe-core-{AXE}.tgz") as archive:
            file.write_bytes(archive.extractfile("package/axe.min.js").read())
    return file.read_text("utf-8")


@pytest.fixture(scope="module")
def pages(clone, tmp_path_factory):
    """A month's page, one with a deviation, a run of checks, and the page for on-call, each as a file."""
    ledger = clone()
    ledger.start(tier=[{"code": "member", "enter_at": 0}, {"code": "silver", "enter_at": 110}])
    ledger.orders(
        "A1,m1,2026-01-01 10:00,tea,1,100", "A2,m1,2026-01-12 10:00,cake,3,49.99", "A3,m1,2026-01-13 10:00,tea,-1,100",
        "B1,会员,2026-01-20 10:00,茶,1,80",
    )  # fmt: skip
    ledger.redemptions("R1,m1,2026-01-02 11:00,30", "R2,nobody,2026-01-02 11:00,30")
    ledger.close("2026-02-20")
    bad = {"order_no": "A1", "recomputed": 100, "booked": 101}
    with ledger.engine("auditor").connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        report = month.figures(connection, month.month_of(connection, "2026-01"))
    wrong = json.loads(json.dumps(report)) | {
        "headline": "2026-01: 1 DEVIATION. orders-in-ledger (1).",
        "deviations": 1,
    }
    wrong["checks"][0] |= {"rows": [bad], "offending": 1, "deviations": 1, "right": 101, "difference": -1}
    ledger.rows("UPDATE points.wallet SET balance = balance + 1")
    day = dt.date(2026, 2, 20)
    run = runner.run_bare(ledger.engine("auditor"), CATALOGUE, as_of=day)
    with ledger.engine().begin() as connection:
        number = check_findings.record(connection, run, code_version="test")
        calling = on_call.render(
            day, check_findings.open_incidents(connection), check_findings.findings(connection, only_open=True, limit=50),
            check_findings.stopping(connection, day=day), check_findings.trend(connection, through=day, days=on_call.DAYS),
        )  # fmt: skip
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "month": month_page(report, hashlib.sha256(month.as_bytes(report)).hexdigest()),
        "deviating": month_page(wrong, "cd" * 32),
        "run": run_page.documents(run, number, None)["index.html"],
        "on-call": calling,
    }
    for name, content in made.items():
        (folder / f"{name}.html").write_text(content, encoding="utf-8")
    assert run.outcome == "stop"  # so that the pages have something to show
    return folder


class Browser:
    """A page in a headless browser, spoken to by its own protocol."""

    def __init__(self, socket):
        self.socket, self.number, self.seen = socket, 0, []

    async def call(self, method, **params):
        """One command; what happens meanwhile is kept in ``seen``."""
        self.number += 1
        await self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        return await self._until(lambda message: message.get("id") == self.number)

    async def event(self, method):
        """Wait for something to happen."""
        return await self._until(lambda message: message.get("method") == method)

    async def _until(self, is_it):
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), 30))
            self.seen.append(message)
            if is_it(message):
                assert "error" not in message, message
                return message.get("result", {})

    async def shoot(self, path):
        """A screenshot of the whole page."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


async def visit(chromium, folder, name, axe):
    """Open a page in a fresh browser; return what it loaded, said and violated."""
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "about:blank",
               f"--user-data-dir={folder / ('profile-' + name)}"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        address = next(found[1] for line in process.stderr if (found := re.search(r"listening on (ws://\S+)", line)))
        async with websockets.connect(address, max_size=None) as root:
            target = (await Browser(root).call("Target.createTarget", url="about:blank"))["targetId"]
        page = re.sub(r"/devtools/.*", f"/devtools/page/{target}", address)
        async with websockets.connect(page, max_size=None) as socket:
            browser = Browser(socket)
            for domain in ("Page", "Network", "Runtime", "Log"):
                await browser.call(f"{domain}.enable")
            found = []
            for scheme, width in (("light", 1000), ("dark", 1000), ("light", 400)):
                await browser.call(
                    "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
                )
                await browser.call(
                    "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
                )
                await browser.call("Page.navigate", url=(folder / f"{name}.html").as_uri())
                await browser.event("Page.loadEventFired")
                await browser.shoot(folder / f"{name}-{scheme}-{width}.png")
                wide = await browser.call(
                    "Runtime.evaluate", expression="document.documentElement.scrollWidth", returnByValue=True
                )
                assert wide["result"]["value"] <= width, (
                    f"{name} is {wide['result']['value']} wide on a screen of {width}"
                )
                if axe:
                    await browser.call("Runtime.evaluate", expression=axe)
                    ask = f"axe.run({{runOnly: {json.dumps(RULES)}}}).then(r => JSON.stringify(r.violations))"
                    told = await browser.call("Runtime.evaluate", expression=ask, awaitPromise=True, returnByValue=True)
                    found += [
                        (scheme, width, v["id"], [n["html"][:160] for n in v["nodes"][:3]])
                        for v in json.loads(told["result"]["value"])
                    ]
            return browser.seen, found
    finally:
        process.terminate()
        process.wait(20)


PAGES = ["month", "deviating", "run", "on-call"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_but_itself_and_the_console_stays_empty(chromium, pages, name):
    seen, _ = asyncio.run(visit(chromium, pages, name, None))

    loaded = {m["params"]["request"]["url"] for m in seen if m.get("method") == "Network.requestWillBeSent"}
    assert loaded == {(pages / f"{name}.html").as_uri()}
    said = [
        m for m in seen if m.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    ]
    assert said == []
    assert {path.name for path in pages.glob(f"{name}-*.png")} == {
        f"{name}-light-1000.png", f"{name}-dark-1000.png", f"{name}-light-400.png",
    }  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_to_object_to_in_light_in_dark_and_on_a_telephone(chromium, axe, pages, name):
    assert asyncio.run(visit(chromium, pages, name, axe))[1] == []


def test_a_page_that_loads_or_complains_would_be_seen(chromium, tmp_path):
    text = '<!doctype html><html lang="en"><title>x</title><img src="no.png" alt=""><script>console.error("x")</script>'
    Path(tmp_path / "bad.html").write_text(text)

    seen, _ = asyncio.run(visit(chromium, tmp_path, "bad", None))

    loaded = [m["params"]["request"]["url"] for m in seen if m.get("method") == "Network.requestWillBeSent"]
    assert (tmp_path / "no.png").as_uri() in loaded
    assert any(m.get("method") == "Runtime.consoleAPICalled" for m in seen)
