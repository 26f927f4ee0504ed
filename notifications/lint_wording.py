"""What a template's words must not do: break a line where there is one, hide an address, cost more, look wrong in Chinese."""

import re
from collections.abc import Iterator

from notifications.sandbox import TOKEN
from notifications.sms_length import dearer

NUMERIC = re.compile(r"\|\s*(num|signed|money)\b")
TAG = re.compile(r"<[^>]*>")
ADDRESS = re.compile(r"https?://|\bwww\.|\bmailto:|[\w-]+\.(com|net|org|cn|io)\b", re.IGNORECASE)
CJK = "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef"
PUNCTUATION = re.compile(
    rf"(?<=[{CJK}])\s*([,;:!?.])(?=\s*(?:[{CJK}0-9]|$))|(?<=[0-9A-Za-z])([,;:!?])(?=\s*[{CJK}])"
    rf"|(?<=[{CJK}])([()])|([()])(?=[{CJK}])"
)
CHINESE = {",": "，", ";": "；", ":": "：", "!": "！", "?": "？", ".": "。", "(": "（", ")": "）"}
ONE_LINE = frozenset({"subject.txt", "sms.txt", "greeting.txt", "button.txt"})
IN_HTML_TOO = frozenset({"greeting.txt", "button.txt"})


def wording_problems(name: str, locale: str, source: str) -> list[str]:
    """What is wrong with the words of a file, as ``LINE: sentence``."""
    found = [*_general(name, source)]
    if name == "sms.txt" and not locale.startswith("zh"):
        found += _charged(source)
    if locale.startswith("zh"):
        found += _chinese(source)
    return found


def _general(name: str, source: str) -> Iterator[str]:
    if not source.strip():
        yield "1: the file is empty"
    if name in ONE_LINE and len(source.strip().splitlines()) > 1:
        yield "2: this is one line"
    for number, line in _lines(source, value=" "):
        if name.endswith(".txt") and ADDRESS.search(line):
            yield f"{number}: an address is written {{{{ site_url }}}}"
        if name in IN_HTML_TOO and re.search("[<>&]", line):
            yield f"{number}: < > & may not stand here: the HTML has this line too"


def _charged(source: str) -> Iterator[str]:
    for number, line in _lines(source, value=" "):
        if characters := dearer(line):
            shown = " ".join(f"“{character}”" for character in characters)
            yield f"{number}: {shown} makes the SMS more than twice as dear; write it with plain characters"


def _chinese(source: str) -> Iterator[str]:
    for number, line in _lines(source, value=None):
        for match in PUNCTUATION.finditer(line):
            mark = next(group for group in match.groups() if group)
            yield f"{number}: “{mark}” next to Chinese: write “{CHINESE[mark]}”"


def _lines(source: str, *, value: str | None) -> Iterator[tuple[int, str]]:
    """The lines without what is not words; ``value`` None: a character of the kind that will stand there."""

    def word(token: re.Match[str]) -> str:
        ends = "\n" * token[0].count("\n")
        if not token[0].startswith("{{"):
            return ends
        return (value if value is not None else "0" if NUMERIC.search(token[0]) else "字") + ends

    words = TAG.sub(lambda tag: "\n" * tag[0].count("\n"), TOKEN.sub(word, source))
    return enumerate(words.splitlines(), start=1)
