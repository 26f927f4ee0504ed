"""The files of the notices: ``templates/<kind>/<locale>/…``, one shared frame, and the words every notice has in a locale.

A folder is a copy of ``notifications/templates`` or of parts of it that are complete. Which locales there are is said by
the folders in ``layout/``; ``month``, ``simulation`` and ``preview`` hold pages and no notices.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from notifications.kinds import Class, Kind

LAYOUT = "layout"
FRAME = "frame.html"
LAYOUT_FILES = ("greeting.txt", "button.txt", "footer.txt", "footer.html")


@dataclass(frozen=True)
class Sources:
    """The texts of one notice in one locale, by file; the words of the layout, by file; the frame."""

    files: dict[str, str]
    layout: dict[str, str]
    frame: str

    @property
    def version(self) -> str:
        """What identifies these texts: 12 hexadecimal characters of their SHA-256."""
        texts = [self.frame, *self.layout.values(), *self.files.values()]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def shipped_templates() -> Traversable:
    """The templates of this package."""
    return resources.files("notifications").joinpath("templates")


def locales(folder: Traversable) -> list[str]:
    """The locales of a folder of templates, in order."""
    return sorted(child.name for child in folder.joinpath(LAYOUT).iterdir() if child.is_dir())


def sources(folder: Traversable, kind: Kind, locale: str) -> Sources:
    """Read what makes one notice in one locale.

    Raises:
        FileNotFoundError: a file is missing.
    """
    return Sources(
        {name: _read(folder, kind.name, locale, name) for name in kind.files},
        {name: _read(folder, LAYOUT, locale, name) for name in LAYOUT_FILES},
        _read(folder, LAYOUT, FRAME),
    )


def _read(folder: Traversable, *path: str) -> str:
    return folder.joinpath(*path).read_text("utf-8")


def chosen_locale(asked: str, have: Sequence[str], belongs_to: Class) -> str | None:
    """The locale a member gets: the one asked for, another of the same language, English; None: there is none.

    For ``zh_HK``: ``zh_HK``, ``zh``, ``zh_CN``, ``en``. What the law makes us say is never said in another language.
    """
    wanted = asked.replace("-", "_")
    language = wanted.partition("_")[0].lower()
    same = [locale for locale in have if locale.partition("_")[0] == language]
    for locale in (wanted, language, *same):
        if locale in have:
            return locale
    return "en" if belongs_to != "legal" and "en" in have else None


def as_folder(folder: Path | None) -> Traversable:
    """An operator's own folder, or the shipped one."""
    return folder or shipped_templates()
