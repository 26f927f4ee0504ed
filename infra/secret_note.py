"""A secret that this machine makes for itself once and keeps in a file that only its user may read."""

import secrets
from pathlib import Path


def kept_secret(note: Path, *, size: int) -> str:
    """The secret in ``note``, made of ``size`` random bytes when there is none; the same for all who ask at once."""
    note.parent.mkdir(parents=True, exist_ok=True)
    if not note.exists():
        fresh = note.with_name(f"{note.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(size))
        try:
            note.hardlink_to(fresh)  # atomic, and the first of two processes wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return note.read_text()
