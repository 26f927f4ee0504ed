"""The page behind the unsubscribe links. GET shows a button, only POST acts: link scanners follow links, they do not post.

Run as ``python -m infra.unsubscribe_page``. Its login may call one function of the ledger and read nothing.
"""

import argparse
import datetime as dt
import logging
import signal
import sys
import threading
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from infra import database, unsubscribe
from infra.logs import configure
from infra.settings import InvalidSettings, settings
from infra.unsubscribe import Asked

logger = logging.getLogger(__name__)

BODY_LIMIT = 4096
SECONDS = 10  # that a visitor may keep a connection waiting

WORDS = {
    "en": {
        "title": "Notices from your loyalty programme",
        "ask service": "Stop e-mails and messages about expiring points, tiers and statements?",
        "ask marketing": "Stop offers and invitations?",
        "still": "Confirmations of your redemptions and notices the law asks for will still reach you.",
        "button": "Stop them",
        "done": "Done. You will get no more of these.",
        "unknown": "This link is not valid. Please use the one in your newest notice.",
        "broken": "That did not work just now. Please try again in a few minutes.",
    },
    "zh-CN": {
        "title": "会员计划通知",
        "ask service": "不再接收积分到期、会员等级和对账单的邮件和短信?",
        "ask marketing": "不再接收优惠和邀请?",
        "still": "兑换确认以及法律要求的通知仍会发送给您。",
        "button": "停止接收",
        "done": "已办理。您不会再收到这类通知。",
        "unknown": "链接无效。请使用最近一封通知中的链接。",
        "broken": "暂时无法办理,请几分钟后再试。",
    },
}
STYLE = (
    "body{font:1.05rem/1.6 system-ui,'Noto Sans CJK SC',sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.2rem;color:#1f2933}"
    "button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#1f4e79;color:#fff;cursor:pointer}"
    "p.small{color:#52606d;font-size:.95rem}"
)
Act = Callable[[Asked], None]


def handler(read: Callable[[str], Asked | None], act: Act, prefix: str) -> type[BaseHTTPRequestHandler]:
    """A handler class for links below ``prefix``; ``act`` stops a class for a member, as often as it is called."""

    class Page(BaseHTTPRequestHandler):
        timeout = SECONDS
        server_version, sys_version = "loyalty", ""

        def do_GET(self) -> None:
            asked = self._asked()
            if asked is None:
                self._answer(404, "unknown")
            else:
                self._answer(200, f"ask {asked.notice_class}", form=True)

        do_HEAD = do_GET  # noqa: N815 - as above

        def do_POST(self) -> None:
            # The body says List-Unsubscribe=One-Click, or is our form's; the link alone says who and what.
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > BODY_LIMIT:
                self._answer(413, "unknown")
                return
            self.rfile.read(int(length))
            asked = self._asked()
            if asked is None:
                self._answer(404, "unknown")
                return
            try:
                act(asked)
            except SQLAlchemyError:
                logger.error("an unsubscribe request could not be recorded; mail programs try again")
                self._answer(503, "broken")
                return
            self._answer(200, "done")

        def _asked(self) -> Asked | None:
            path = urlsplit(self.path).path
            return read(path.removeprefix(f"{prefix}/")) if path.startswith(f"{prefix}/") else None

        def _answer(self, status: int, what: str, *, form: bool = False) -> None:
            language = "zh-CN" if self.headers.get("Accept-Language", "").lower().startswith("zh") else "en"
            words = WORDS[language]
            extra = f'<form method="post"><button>{escape(words["button"])}</button></form>' if form else ""
            extra += f'<p class="small">{escape(words["still"])}</p>' if form else ""
            page = (
                f'<!doctype html><html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
                f'<meta name="robots" content="noindex"><title>{escape(words["title"])}</title><style>{STYLE}</style>'
                f"<h1>{escape(words['title'])}</h1><p>{escape(words[what])}</p>{extra}</html>"
            ).encode()
            self.send_response(status)
            for name, value in (
                ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page))), ("Cache-Control", "no-store"),
                ("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"),
                ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"),
            ):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name http.server gives it
            # Without the path: a link is as good as the member's own hand.
            del format
            logger.debug("answered", extra={"status": arguments[1] if len(arguments) > 1 else ""})

    return Page


def recorder(url: str) -> Act:
    """Record in the ledger that a member wants no more of a class."""
    engine = database.engine(url, lock_timeout="5s", statement_timeout="10s")

    def act(asked: Asked) -> None:
        with engine.begin() as connection:
            connection.execute(
                text("SELECT points.unsubscribe(:member_id, :class, :moment)"),
                {"member_id": asked.member_id, "class": asked.notice_class, "moment": dt.datetime.now(dt.UTC)},
            )

    return act


def main() -> int:
    """Serve what the environment describes, until SIGTERM."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    configure()
    try:
        chosen = settings()
        url = database.ledger_url(chosen, "unsubscribe")
    except (InvalidSettings, database.MissingDatabaseUrl) as error:
        logger.error("%s", error)
        return 1
    keys = {unsubscribe.KEY_NUMBER: unsubscribe.signing_key(chosen)}
    prefix = urlsplit(unsubscribe.base_url(chosen)).path
    page = handler(lambda text: unsubscribe.read_token(keys, text), recorder(url), prefix)
    server = ThreadingHTTPServer((chosen.unsubscribe_host, chosen.unsubscribe_port), page)
    server.daemon_threads = True
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    server.serve_forever()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
