"""Which HTML a notice may hold: few tags, quoted attributes, classes of the layout, links only to declared addresses.

Styles, images, scripts and forms are the layout's or nobody's: mail programs treat them differently or not at all.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from notifications.sandbox import TOKEN

BLOCK = re.compile(r"\{%-?\s*(\w+)")
INLINE = frozenset({"strong", "em", "a", "br"})
BLOCKS = frozenset({"p", "h1", "h2", "ul", "ol", "table"})
# tag: what may stand directly inside it; text only where inline tags may
INSIDE = {
    "": BLOCKS, "p": INLINE, "h1": INLINE, "h2": INLINE, "strong": INLINE, "em": INLINE, "a": INLINE, "br": frozenset(),
    "ul": frozenset({"li"}), "ol": frozenset({"li"}), "li": INLINE, "table": frozenset({"thead", "tbody"}),
    "thead": frozenset({"tr"}), "tbody": frozenset({"tr"}), "tr": frozenset({"th", "td"}), "th": INLINE, "td": INLINE,
}  # fmt: skip
ATTRIBUTES = {
    "a": {"href"},
    "th": {"scope", "class"},
    "td": {"class"},
    "tr": {"class"},
    "table": {"class"},
    "p": {"class"},
}
CLASSES = frozenset({"figures", "number", "small", "text", "total"})
ATTRIBUTE = re.compile(r"""([^\s=<>"'/]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s>]+))?""")
LINK = re.compile(r"\{\{\s*(\w+)\s*\}\}(.*)", re.DOTALL)
BEHIND_SITE = re.compile(r"(/[A-Za-z0-9/_.-]*)?")
ADDRESS = re.compile(r"https?://|\bwww\.|javascript:|data:", re.IGNORECASE)


def markup_problems(source: str) -> list[str]:
    """What is wrong with the HTML of a file, as ``LINE: sentence``."""
    reader = _Reader(source)
    reader.feed(TOKEN.sub(_masked, source))
    reader.close()
    return list(dict.fromkeys([*reader.found, *reader.open_at_the_end()]))


def _masked(token: re.Match[str]) -> str:
    # as long as it was, with its line ends, and without what means something in HTML
    return "".join(character if character == "\n" else "v" for character in token[0])


class _Reader(HTMLParser):
    """Reads the masked source; ``_at`` finds the place in the real one."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[str] = []
        self._source = source
        self._starts = [0, *(match.end() for match in re.finditer("\n", source))]
        self._open: list[str] = []
        self._blocks: list[tuple[str, list[str]]] = []

    def _at(self) -> int:
        line, column = self.getpos()
        return self._starts[line - 1] + column

    def _say(self, sentence: str) -> None:
        self.found.append(f"{self.getpos()[0]}: {sentence}")

    def open_at_the_end(self) -> Iterator[str]:
        for tag in self._open:
            yield f"{len(self._starts)}: <{tag}> is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - read from the source
        start = self._at()
        raw = self._source[start : start + len(self.get_starttag_text() or "")]
        if tag not in INSIDE:
            self._say(f"<{tag}> is not allowed; allowed are {', '.join(f'<{known}>' for known in INSIDE if known)}")
        elif tag not in INSIDE[self._inside()]:
            inside = f"<{self._inside()}>" if self._open else "a notice"
            self._say(f"<{tag}> may not stand directly in {inside}")
        for problem in _attributes(tag, raw):
            self._say(problem)
        if tag in INSIDE and tag != "br":
            self._open.append(tag)

    def _inside(self) -> str:
        return self._open[-1] if self._open else ""

    def handle_endtag(self, tag: str) -> None:
        if self._inside() != tag:
            self._say(f"</{tag}> closes nothing" if tag not in self._open else f"<{self._inside()}> is closed too late")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        start = self._at()
        text = self._source[start : start + len(data)]
        if "<" in TOKEN.sub("", text):
            self._say("write &lt; for <")
        if ADDRESS.search(TOKEN.sub("", text)):
            self._say("an address is written {{ site_url }}")
        words = TOKEN.sub(lambda token: (" " if token[0][1] in "%#" else "v") * len(token[0]), text)
        if words.strip() and not INSIDE[self._inside()] & INLINE:
            first = start + len(words) - len(words.lstrip())
            line = self._source.count("\n", 0, first) + 1
            self.found.append(f"{line}: text stands in <p>, <h1>, <h2>, <li>, <td> or <th>")
        for token in TOKEN.finditer(text):
            if token[0].startswith("{%"):
                self._block(BLOCK.match(token[0]))

    def _block(self, found: re.Match[str] | None) -> None:
        word = found[1] if found else ""
        if word in ("if", "for"):
            self._blocks.append((word, list(self._open)))
        elif self._blocks:
            opened, before = self._blocks[-1]
            if self._open != before:
                self._say(f"a tag opened in {{% {opened} %}} must be closed in it")
                self._open = list(before)
            if word.startswith("end"):
                self._blocks.pop()

    def handle_comment(self, data: str) -> None:  # noqa: ARG002 - HTMLParser's signature
        self._say("a remark is written {# … #}: members do not get it")

    def handle_decl(self, decl: str) -> None:  # noqa: ARG002 - HTMLParser's signature
        self._say("<!…> is not allowed")

    def handle_pi(self, data: str) -> None:  # noqa: ARG002 - HTMLParser's signature
        self._say("<?…> is not allowed")


def _attributes(tag: str, raw: str) -> Iterator[str]:
    if "{%" in raw or "{#" in raw:
        yield f"{{% %}} may not stand inside <{tag}>"
        return
    inner = TOKEN.sub(lambda token: token[0].replace(" ", "").replace('"', ""), raw)[len(tag) + 1 :].rstrip("/>")
    for match in ATTRIBUTE.finditer(inner):
        name, value = match[1].lower(), match[2]
        if "{{" in name:
            yield f"a value may not stand inside <{tag}>"
            return
        if value is not None and value[0] not in "\"'":
            yield f'the attribute value must be quoted: {name}="…"'
        if name not in ATTRIBUTES.get(tag, set()):
            yield f"the attribute '{name}' is not allowed in <{tag}>"
        elif name == "href":
            yield from _link((value or "").strip("\"'"))
        elif "{{" in (value or ""):
            yield f"a value may not stand in '{name}'"
        elif name == "class" and not set((value or "").strip("\"'").split()) <= CLASSES:
            yield f"the layout has no such class; it has {', '.join(sorted(CLASSES))}"
        elif name == "scope" and (value or "").strip("\"'") not in ("row", "col"):
            yield "scope is row or col"


def _link(value: str) -> Iterator[str]:
    found = LINK.fullmatch(value)
    if found is None:
        name = re.search(r"\{\{\s*(\w+)", value)
        yield (
            f'the link does not begin with its address: write href="{{{{ {name[1]} }}}}"'
            if name and name[1].endswith("_url")
            else f"'{name[1]}' may not be used as a link"
            if name
            else 'a link is written href="{{ site_url }}"'
        )
    elif not found[1].endswith("_url"):
        yield f"'{found[1]}' may not be used as a link"
    elif not BEHIND_SITE.fullmatch(found[2]) or (found[2] and found[1] != "site_url"):
        yield "behind {{ site_url }} a link goes on with / and a path, others end there"
