"""The gate for templates: what must be right before a notice goes to members, said to whoever edits it, by file and line.

What a template may contain is in ``lint_expressions``, ``lint_markup`` and ``lint_wording``; here files and locales are held
against each other, and every notice is written with the sample facts and measured.
"""

from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from notifications.brand import Brand
from notifications.kinds import KINDS, Kind
from notifications.lint_expressions import expression_problems, used_facts
from notifications.lint_markup import markup_problems
from notifications.lint_wording import wording_problems
from notifications.rendering import CannotRender, Notices, Rendered
from notifications.samples import Sample, sample_brand, samples
from notifications.sms_length import sms_length
from notifications.template_files import FRAME, LAYOUT, LAYOUT_FILES, as_folder, locales

LONGEST_SUBJECT = 78
LONGEST_SENDER = 45  # bytes: one encoded word; Python's own reader puts a blank between two
UNSUBSCRIBE = "unsubscribe/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
REFUSE_SMS = {"zh": "拒收请回复R", "en": "Reply STOP to end"}
PAGES = frozenset({"month", "preview", "simulation"})  # not notices


def problems(folder: Path | None = None, brand: Brand | None = None) -> list[str]:
    """What is wrong with a folder of templates (without it: the shipped ones), as ``FILE:LINE: sentence``; [] is good.

    Lengths are measured with ``brand``, or with a sample one.
    """
    found = list(_problems(as_folder(folder), brand))
    # the notices are written only when nothing else is wrong: what is would be said twice
    return found or list(dict.fromkeys(_written(folder, locales(as_folder(folder)), brand)))


def _problems(folder: Traversable, brand: Brand | None) -> Iterator[str]:
    if brand and len(brand.name.encode()) > LONGEST_SENDER:
        yield f"brand: {brand.name} is longer than {LONGEST_SENDER} bytes; as a sender mail programs would break it"
    if not folder.joinpath(LAYOUT, FRAME).is_file():
        yield f"{LAYOUT}/{FRAME}: is missing"
        return
    yield from _of_file(None, "", f"{LAYOUT}/{FRAME}", folder.joinpath(LAYOUT, FRAME).read_text("utf-8"))
    have = locales(folder)
    if "en" not in have:
        yield f"{LAYOUT}/en: is missing; members whose language is not there get English"
    yield from _of_kind(folder, None, LAYOUT, LAYOUT_FILES, have)
    for kind in KINDS.values():
        yield from _of_kind(folder, kind, kind.name, kind.files, have)
    for child in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if child.is_dir() and child.name not in {LAYOUT, *KINDS, *PAGES}:
            yield f"{child.name}: there is no such notice; there are {', '.join(KINDS)}"


def _of_kind(
    folder: Traversable, kind: Kind | None, name: str, files: tuple[str, ...], have: list[str]
) -> Iterator[str]:
    texts: dict[tuple[str, str], str] = {}
    for locale in have:
        for file in files:
            path = folder.joinpath(name, locale, file)
            if path.is_file():
                texts[locale, file] = path.read_text("utf-8")
            else:
                yield f"{name}/{locale}/{file}: is missing"
    if folder.joinpath(name).is_dir():
        yield from _strays(folder.joinpath(name), name, files, have)
    wrong = [
        line
        for (locale, file), text in texts.items()
        for line in _of_file(kind, locale, f"{name}/{locale}/{file}", text)
    ]
    yield from wrong
    if not wrong:
        yield from _parity(name, files, have, texts)


def _strays(folder: Traversable, name: str, files: tuple[str, ...], have: list[str]) -> Iterator[str]:
    for child in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if child.is_dir() and child.name not in have:
            yield f"{name}/{child.name}: {LAYOUT}/{child.name} is missing"
        for file in sorted(entry.name for entry in child.iterdir()) if child.is_dir() else ():
            if file not in files:
                yield f"{name}/{child.name}/{file}: nothing reads this file; there are {', '.join(files)}"


def _of_file(kind: Kind | None, locale: str, path: str, text: str) -> Iterator[str]:
    file = path.rpartition("/")[2]
    found = expression_problems(kind, text)
    if locale:  # not the frame: it is the layout's HTML, not an operator's
        found += markup_problems(text) if file.endswith(".html") else []
        found += wording_problems(file, locale, text)
    yield from (f"{path}:{problem}" for problem in found)


def _parity(name: str, files: tuple[str, ...], have: list[str], texts: dict[tuple[str, str], str]) -> Iterator[str]:
    used = {key: used_facts(text) for key, text in texts.items()}
    for file in files:
        everywhere = {fact: locale for locale in have for fact in used.get((locale, file), ())}
        for locale in have:
            for fact in sorted(everywhere.keys() - used.get((locale, file), everywhere.keys())):
                yield f"{name}/{locale}/{file}:1: says nothing of '{fact}'; {everywhere[fact]}/{file} does"
    for locale in have:
        for one, other in (("body.txt", "body.html"), ("body.html", "body.txt")):
            for fact in sorted(used.get((locale, other), set()) - used.get((locale, one), set())):
                # the headline of the HTML repeats the subject
                if fact not in used.get((locale, "subject.txt"), set()):
                    yield f"{name}/{locale}/{one}:1: says nothing of '{fact}'; {other} does"


def _written(folder: Path | None, have: list[str], brand: Brand | None) -> Iterator[str]:
    for locale in have:
        from_whom = brand or sample_brand(locale)
        notices = Notices(from_whom, folder)
        for kind in KINDS.values():
            written: dict[str, Rendered] = {}
            for name, sample in samples(kind.name, locale).items():
                try:
                    written[name] = render_sample(notices, from_whom, kind, locale, sample)
                except CannotRender as error:
                    yield f"{kind.name}/{locale}: with the facts “{name}”: {error.why}"
            for rendered in written.values():
                yield from _of_class(kind, locale, rendered, from_whom)
            # hostile facts are longer than any a ledger has
            yield from _measured(kind, locale, [rendered for name, rendered in written.items() if name != "hostile"])


def render_sample(notices: Notices, brand: Brand, kind: Kind, locale: str, sample: Sample) -> Rendered:
    """A notice with sample facts.

    Raises:
        CannotRender: as ``Notices.render``.
    """
    return notices.render(
        kind.name,
        locale,
        sample.facts,
        name=sample.name,
        member_no="M000123",
        notice_ref="1234567",
        unsubscribe_url=f"{brand.site_url}/{UNSUBSCRIBE}" if kind.may_unsubscribe else None,
        changes=sample.changes,
    )


def _measured(kind: Kind, locale: str, written: Sequence[Rendered]) -> Iterator[str]:
    where = f"{kind.name}/{locale}"
    subject = max((len(rendered.subject) for rendered in written), default=0)
    if subject > LONGEST_SUBJECT:
        yield f"{where}/subject.txt:1: up to {subject} characters; at most {LONGEST_SUBJECT}"
    sms = max((sms_length(rendered.sms) for rendered in written), key=lambda length: length.parts, default=None)
    if sms and sms.parts > kind.sms_parts:
        yield (
            f"{where}/sms.txt:1: up to {sms.characters} characters ({sms.alphabet}), that is {sms.parts} SMS;"
            f" at most {kind.sms_parts}"
        )


def _of_class(kind: Kind, locale: str, rendered: Rendered, brand: Brand) -> Iterator[str]:
    where, chinese = f"{kind.name}/{locale}", locale.startswith("zh")
    if chinese and not rendered.sms.startswith(f"【{brand.sms_signature}】"):
        yield f"{where}/sms.txt:1: a Chinese SMS begins with 【{{{{ sms_signature }}}}】"
    for file, text in (("body.txt", rendered.text), ("body.html", rendered.html)):
        if kind.may_unsubscribe and UNSUBSCRIBE not in text:
            yield f"{where}/{file}:1: members may say no to this notice, and the layout's footer does not say how"
    if kind.belongs_to != "marketing":
        return
    for file, text in (("body.txt", rendered.text), ("body.html", rendered.html)):
        if brand.postal_address not in text:
            yield f"{where}/{file}:1: an advertisement names the postal address"
    if chinese and not rendered.subject.startswith("【广告】"):
        yield f"{where}/subject.txt:1: the subject of an advertisement begins with 【广告】"
    last = REFUSE_SMS.get("zh" if chinese else locale, REFUSE_SMS["en"])
    if not rendered.sms.endswith(last):
        yield f"{where}/sms.txt:1: the SMS of an advertisement ends with “{last}”"
