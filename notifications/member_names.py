"""A member's name as a notice may use it. People type it in themselves, and some type an advertisement or an attack."""

import re
import unicodedata

LONGEST = 60
HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
JOINERS = "\u200c\u200d"  # names in Persian and in Indian scripts need them
# mail programs make a link of anything that looks like one
LINK = re.compile(r"://|@|\bwww\b|[^\s.]\.[^\W\d_]{2,}", re.IGNORECASE)


def addressed(name: str) -> str:
    """The name on one line, without control and direction characters; "" (nobody is named) if it cannot be used.

    It cannot when it is longer than 60 characters or looks like a link or an address.
    """
    visible = "".join(
        " " if character.isspace() else character
        for character in name
        if character.isspace() or character in JOINERS or unicodedata.category(character) not in HIDDEN
    )
    line = " ".join(visible.split())
    return "" if len(line) > LONGEST or LINK.search(line) else line
