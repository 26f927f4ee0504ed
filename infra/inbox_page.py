"""The inbox of the mail sink: what was kept, newest first, each as a browser, a terminal and a mail server see it.

Self-contained, for this machine only. Mails are foreign content: everything is escaped, and their HTML is shown in a frame
that may run nothing, load nothing and submit nothing.
"""

import datetime as dt
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

SHOWN: Final = 50
SEARCHED: Final = 5_000  # newest mails that a search reads
LOCAL_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
STYLE: Final = """
body{font:15px/1.5 system-ui,'Noto Sans CJK SC',sans-serif;margin:0;color:#1f2933;background:#f5f7fa}
header{background:#1f4e79;color:#fff;padding:.7rem 1.5rem;display:flex;gap:1.5rem;align-items:center}
header a{color:#fff;text-decoration:none;font-weight:600}header span{opacity:.8}
main{max-width:64rem;margin:1rem auto;padding:0 1rem}table{width:100%;border-collapse:collapse;background:#fff}
td,th{padding:.5rem .7rem;border-bottom:1px solid #e5e8ec;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:#52606d;font-weight:600;white-space:nowrap}a{color:#1f4e79}td.when{white-space:nowrap;color:#52606d}
nav{display:flex;gap:1rem;margin:1rem 0}nav a[aria-current]{font-weight:700;text-decoration:none}
iframe,pre{width:100%;box-sizing:border-box;background:#fff;border:1px solid #d9dde3}iframe{height:75vh}
pre{padding:1rem;white-space:pre-wrap;overflow-wrap:anywhere}input{font:inherit;padding:.2rem .5rem}
"""
FRAMED: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
AROUND: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'"


def kept(directory: Path) -> list[str]:
    """The names of the kept mails, newest first: they sort by arrival."""
    return sorted((path.name for path in directory.glob("[!.]*.eml")), reverse=True)


def inbox(directory: Path, *, page: int = 0, search: str = "") -> str:
    """The list as HTML."""
    names = kept(directory)
    if search:
        names = [name for name, mail in _read(directory, names[:SEARCHED]) if search.lower() in _searchable(mail)]
    rows = [
        f'<tr><td class="when">{_arrived(name)}</td><td>{escape(str(mail["To"] or ""))}</td>'
        f'<td><a href="/mail/{quote(name)}">{escape(str(mail["Subject"] or "(no subject)"))}</a></td></tr>'
        for name, mail in _read(directory, names[page * SHOWN : (page + 1) * SHOWN])
    ]
    asked = f"&amp;q={quote(search)}" if search else ""
    newer = f'<a href="/?page={page - 1}{asked}">newer</a>' if page else ""
    older = f'<a href="/?page={page + 1}{asked}">older</a>' if len(names) > (page + 1) * SHOWN else ""
    table = "<table><tr><th>arrived (UTC)</th><th>to</th><th>subject</th></tr>" + "".join(rows) + "</table>"
    return _around(
        "Inbox",
        f'<form><input name="q" value="{escape(search)}" placeholder="address or subject" aria-label="Search">'
        f" <span>{len(names)} mails</span></form>{table}<nav>{newer}{older}</nav>",
    )


def letter(directory: Path, name: str, view: str) -> str:
    """One mail as HTML: ``html`` (in a frame), ``text``, ``headers`` or ``source``."""
    raw = (directory / name).read_bytes()
    mail = _parsed(raw)
    links = [(what, f"/mail/{quote(name)}/{what}") for what in ("html", "text", "headers", "source")]
    tabs = "".join(f'<a href="{url}"{" aria-current=page" if what == view else ""}>{what}</a>' for what, url in links)
    if view == "html":
        shown = f'<iframe sandbox src="/mail/{quote(name)}/frame" title="The mail"></iframe>'
    elif view == "text":
        shown = f"<pre>{escape(body(mail, 'plain'))}</pre>"
    elif view == "headers":
        lines = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in mail.items())
        shown = f"<table>{lines}</table>"
    else:
        shown = f"<pre>{escape(raw.decode('utf-8', 'replace'))}</pre>"
    title = str(mail["Subject"] or "(no subject)")
    return _around(title, f"<h1>{escape(title)}</h1><p>To {escape(str(mail['To'] or ''))}</p><nav>{tabs}</nav>{shown}")


def body(mail: EmailMessage, subtype: str) -> str:
    """The text of the part of a mail that is ``plain`` or ``html``; empty when there is none."""
    part = mail.get_body(preferencelist=(subtype,))
    try:
        return "" if part is None else str(part.get_content())
    except (LookupError, UnicodeError):  # a character set nobody knows
        return "(cannot be shown)"


def serve(directory: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Serve the inbox in a thread of this process; the caller calls ``shutdown``.

    Raises:
        OSError: the port is taken.
    """

    class Page(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            # A page of another site that lets its own name point here must not read the mail.
            if self.headers.get("Host", "").rpartition(":")[0] not in (*LOCAL_NAMES, host):
                self._answer(403, "Only from this machine.", "text/plain")
                return
            where = urlsplit(self.path)
            asked = parse_qs(where.query)
            parts = where.path.strip("/").split("/")
            if parts == [""]:
                page = asked.get("page", ["0"])[0]
                search = asked.get("q", [""])[0]
                self._answer(200, inbox(directory, page=int(page) if page.isdecimal() else 0, search=search))
            elif parts[0] == "mail" and len(parts) in (2, 3) and parts[1] in kept(directory):
                view = parts[2] if len(parts) == 3 else "html"
                if view == "frame":
                    self._answer(200, body(_parsed((directory / parts[1]).read_bytes()), "html"), policy=FRAMED)
                else:
                    self._answer(200, letter(directory, parts[1], view))
            else:
                self._answer(404, "There is no such mail.", "text/plain")

        def _answer(self, status: int, content: str, kind: str = "text/html", policy: str = AROUND) -> None:
            raw = content.encode("utf-8", "replace")
            self.send_response(status)
            for name, value in (
                ("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(raw))), ("Cache-Control", "no-store"),
                ("Content-Security-Policy", policy), ("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"),
            ):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name http.server gives it
            """Say nothing."""

    server = ThreadingHTTPServer((host, port), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="inbox", daemon=True).start()
    return server


def _read(directory: Path, names: list[str]) -> Iterator[tuple[str, EmailMessage]]:
    for name in names:
        yield name, _parsed((directory / name).read_bytes())


def _parsed(raw: bytes) -> EmailMessage:
    mail = message_from_bytes(raw, policy=default)
    assert isinstance(mail, EmailMessage)  # noqa: S101 - what the policy makes
    return mail


def _searchable(mail: EmailMessage) -> str:
    return f"{mail['To']} {mail['Subject']}".lower()


def _arrived(name: str) -> str:
    nanoseconds = name.partition("-")[0]
    if not nanoseconds.isdecimal():
        return ""
    return f"{dt.datetime.fromtimestamp(int(nanoseconds) / 1e9, dt.UTC):%Y-%m-%d %H:%M:%S}"


def _around(title: str, content: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><style>{STYLE}</style><header><a href="/">Inbox</a>'
        f"<span>the mail sink of this machine; nothing here was sent to anybody</span></header><main>{content}</main></html>"
    )
