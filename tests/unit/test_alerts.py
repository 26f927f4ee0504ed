"""Alerts reach a real service, say nothing secret when they do not, and never stop the watch."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra import alerts
from infra.settings import Settings


@pytest.fixture
def service():
    posted = []

    class Page(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path.startswith("/broken") else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    server.server_close()


def test_findings_become_one_alert_at_every_address(service):
    url, posted = service
    tell = alerts.teller(Settings(alert_urls=f"{url}/one {url}/two"))

    assert tell(["close_night has not succeeded: the day stays open.", "Run x is late"])

    assert len(posted) == 2
    assert posted[0]["title"] == "Loyalty back office: close_night has not succeeded (+ 1 more)"
    assert "Run x is late" in posted[0]["message"]


def test_without_an_address_nobody_is_told(service):
    assert alerts.teller(Settings())(["something"]) is False
    assert alerts.tell(service[0], []) is False
    assert service[1] == []


def test_a_service_that_fails_is_logged_without_its_secrets(service, caplog):
    url, _ = service
    for urls in (f"{url}/broken?token=hunter2", "json://127.0.0.1:9/?token=hunter2", "nonsense://hunter2"):
        assert alerts.tell(urls, ["x"]) is False

    assert "taff" in caplog.text
    assert "hunter2" not in caplog.text
