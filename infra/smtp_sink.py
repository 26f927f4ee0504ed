"""A mail server that keeps what it gets: one ``.eml`` file per message, for machines without a real one.

Run as ``python -m infra.smtp_sink --port 2525 --directory mail --inbox-port 2580``. Nothing is relayed; the inbox is a page.
Addresses at ``later.example`` are greylisted, as many real ones are: the first attempt of each message is told to come later.
"""

import argparse
import asyncio
import contextlib
import signal
import time
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Final
from uuid import uuid4

from aiosmtpd.smtp import SMTP, Envelope, Session

from infra import inbox_page

GREYLISTED: Final = "@later.example"


class KeepOnDisk:
    """Writes each accepted message to its own file."""

    def __init__(self, directory: Path) -> None:
        """Keep messages in ``directory``."""
        self.directory = directory
        self._tried: set[str] = set()  # Message-IDs of greylisted messages

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - aiosmtpd calls it by this name, with these
        """Store one message and say under which name."""
        # Sorts by arrival, and two messages in one nanosecond still get two files.
        name = f"{time.time_ns()}-{uuid4().hex[:8]}.eml"
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        if any(address.endswith(GREYLISTED) for address in envelope.rcpt_tos):
            message_id = str(BytesHeaderParser().parsebytes(content)["Message-ID"])
            if message_id not in self._tried:
                self._tried.add(message_id)
                return "451 4.7.1 Greylisted: come again later"
        unfinished = self.directory / f".{name}"
        unfinished.write_bytes(content)
        unfinished.rename(self.directory / name)  # a reader never sees half a message
        return f"250 Message kept as {name}"


async def serve(host: str, port: int, directory: Path, inbox_port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: A port is taken.
    """
    directory.mkdir(parents=True, exist_ok=True)
    inbox = inbox_page.serve(directory, host, inbox_port) if inbox_port else None
    handler = KeepOnDisk(directory)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True), host, port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        await stopped.wait()
    if inbox:
        inbox.shutdown()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--inbox-port", type=int, help="where the inbox page is served; default: nowhere")
    asked = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(asked.host, asked.port, asked.directory, asked.inbox_port))


if __name__ == "__main__":
    main()
