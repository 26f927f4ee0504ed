"""The inbox of the sink: newest first, and a mail is foreign content that may do nothing."""

import http.client
import smtplib
import socket
import subprocess
import sys
import time
from email.message import EmailMessage

import pytest

from infra import inbox_page

EVIL = '<script>alert(1)</script><img src="https://tracker.example/x.png" onerror=alert(2)>'


def keep(folder, number, subject="Hello", to="h1@example.com", html="<p>Hi</p>", text="Hi"):
    mail = EmailMessage()
    mail["To"], mail["Subject"] = to, subject
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    name = f"{1_774_000_000_000_000_000 + number}-0000000{number % 10}.eml"
    (folder / name).write_bytes(mail.as_bytes())
    return name


def test_the_newest_stand_first_by_pages_and_can_be_searched(tmp_path):
    for n in range(60):
        keep(tmp_path, n, f"No {n}.", to="h1@example.com" if n else "rare@example.com")
    (tmp_path / ".half.eml").write_bytes(b"To: x")

    first, second = inbox_page.inbox(tmp_path), inbox_page.inbox(tmp_path, page=1)

    assert first.index("No 59.") < first.index("No 58.") < first.index("No 10.")
    assert "No 9." not in first
    assert "No 9." in second
    assert "60 mails" in first
    assert "2026-03-20 09:46:40" in second
    found = inbox_page.inbox(tmp_path, search="RARE@")
    assert "1 mails" in found
    assert "No 0." in found


@pytest.mark.parametrize("view", ["html", "text", "headers", "source"])
def test_nothing_of_a_mail_becomes_part_of_the_page(tmp_path, view):
    name = keep(tmp_path, 1, f"S {EVIL}", text=EVIL, html=EVIL)

    for shown in (inbox_page.letter(tmp_path, name, view), inbox_page.inbox(tmp_path, search=EVIL)):
        assert "<script" not in shown
        assert "<img" not in shown


def test_both_languages_are_read_back(tmp_path):
    name = keep(tmp_path, 1, "积分即将到期", text="您有 800 积分。", html="<p>您有 <b>800</b> 积分。</p>")

    assert "积分即将到期" in inbox_page.letter(tmp_path, name, "html")
    assert "您有 800 积分。" in inbox_page.letter(tmp_path, name, "text")


def test_a_mail_without_html_or_with_an_unknown_character_set_is_shown_too(tmp_path):
    (tmp_path / "1-a.eml").write_bytes(b"Subject: x\r\nContent-Type: text/plain; charset=klingon\r\n\r\n\xff\xfe\r\n")

    assert "<h1>x</h1>" in inbox_page.letter(tmp_path, "1-a.eml", "text")
    assert "iframe sandbox" in inbox_page.letter(tmp_path, "1-a.eml", "html")


def ports(n):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def get(port, path, host=None):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    line.request("GET", path, headers={"Host": host} if host else {})
    reply = line.getresponse()
    content = reply.read().decode()
    line.close()
    return reply.status, content, reply.headers


def test_the_sink_takes_a_mail_and_shows_it(tmp_path):
    smtp_port, inbox_port = ports(2)
    options = ["--port", str(smtp_port), "--directory", str(tmp_path), "--inbox-port", str(inbox_port)]
    sink = subprocess.Popen([sys.executable, "-P", "-m", "infra.smtp_sink", *options])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                client = smtplib.SMTP("127.0.0.1", smtp_port)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        with client:
            body = b"To: h1@example.com\r\nSubject: Kept\r\nContent-Type: text/html\r\n\r\n" + EVIL.encode() + b"\r\n"
            client.sendmail("a@club.example", ["h1@example.com"], body)

        with smtplib.SMTP("127.0.0.1", smtp_port) as client:
            late = b"To: h2@later.example\r\nMessage-ID: <1@club.example>\r\nSubject: Late\r\n\r\nhello\r\n"
            with pytest.raises(smtplib.SMTPDataError, match="Greylisted"):
                client.sendmail("a@club.example", ["h2@later.example"], late)
            assert len(inbox_page.kept(tmp_path)) == 1
            client.sendmail("a@club.example", ["h2@later.example"], late)
            for kept in tmp_path.glob("*.eml"):
                if b"Subject: Late" in kept.read_bytes():
                    kept.unlink()

        status, content, headers = get(inbox_port, "/")
        [name] = inbox_page.kept(tmp_path)
        framed = get(inbox_port, f"/mail/{name}/frame")

        assert (status, "Kept" in content) == (200, True)
        assert "script-src" not in headers["Content-Security-Policy"]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert framed[2]["Content-Security-Policy"].endswith("; sandbox")
        assert get(inbox_port, f"/mail/{name}/text")[0] == 200
        assert get(inbox_port, "/mail/..%2f..%2fetc%2fpasswd")[0] == 404
        assert get(inbox_port, "/mail/../../etc/passwd")[0] == 404
        # a page elsewhere that points its own name at this machine
        assert get(inbox_port, "/", host=f"evil.example:{inbox_port}")[0] == 403
    finally:
        sink.terminate()
        assert sink.wait(10) == 0
