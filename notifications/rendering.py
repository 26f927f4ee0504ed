"""A notice as a member gets it: subject, text and HTML of the e-mail, text of the SMS.

Templates are compiled once per process and checked before (``notifications.lint_expressions``, ``lint_markup``); after
that a notice costs some string joins. Nothing here knows an address, a database or the time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import css_inline
from jinja2 import Template
from jinja2.exceptions import TemplateError

from notifications.brand import Brand
from notifications.facts import CONTROL, WrongFacts, checked_facts
from notifications.kinds import KINDS, Kind
from notifications.links import LinkRefused, checked_link
from notifications.lint_expressions import expression_problems
from notifications.lint_markup import markup_problems
from notifications.member_names import addressed
from notifications.sandbox import TOKEN, NoticeEnvironment, tidied
from notifications.template_files import Sources, as_folder, chosen_locale, locales, sources

KEPT = re.compile("<!--\ue000(\\d+)\ue001-->|\ue000(\\d+)\ue001")


@dataclass(frozen=True)
class Rendered:
    """What is sent; ``template_version`` names the texts it was made from. One channel uses the first three or ``sms``."""

    subject: str
    text: str
    html: str
    sms: str
    template_version: str


class CannotRender(Exception):
    """This notice cannot be written; nothing may be sent."""

    def __init__(self, kind: str, locale: str, why: str) -> None:
        """``why`` names facts, links or templates, never a member's data."""
        super().__init__(kind, locale, why)
        self.kind = kind
        self.locale = locale
        self.why = why

    def __str__(self) -> str:
        """Say which notice and why."""
        return f"The notice {self.kind} in {self.locale} cannot be written: {self.why}"


@dataclass(frozen=True)
class _Compiled:
    subject: Template
    text: Template
    html: Template
    sms: Template
    in_digest: Template | None
    version: str


class Notices:
    """The notices of one brand. Threads may share it."""

    def __init__(self, brand: Brand, folder: Path | None = None) -> None:
        """``folder``: templates of the operator's own; without it, those of this package."""
        self._brand = brand
        self._folder = as_folder(folder)
        self._locales = locales(self._folder)
        self._compiled: dict[tuple[str, str], _Compiled] = {}

    def render(
        self,
        kind: str,
        locale: str,
        facts: Mapping[str, Any],
        *,
        name: str,
        member_no: str,
        notice_ref: str,
        unsubscribe_url: str | None,
        changes: Sequence[str] = (),
    ) -> Rendered:
        """One notice of a member.

        ``unsubscribe_url`` is needed for service and marketing notices and left out of all others; ``changes`` are the
        sentences of a policy change in the member's language.

        Raises:
            CannotRender: wrong facts, a link elsewhere, no template in a language the law lets us use, a refused one.
        """
        declared = KINDS.get(kind)
        if declared is None:
            raise CannotRender(kind, locale, "there is no such kind")
        found = chosen_locale(locale, self._locales, declared.belongs_to)
        if found is None:
            raise CannotRender(kind, locale, "there are no words in this language, and no other may stand for it")
        try:
            values = self._facts(declared, found, facts, changes)
            values |= self._added(declared, name, member_no, notice_ref, unsubscribe_url)
            return self._written(self._template(declared, found), values)
        except (WrongFacts, LinkRefused, TemplateError, FileNotFoundError) as error:
            raise CannotRender(kind, locale, str(error)) from error
        except (
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:  # of a filter; its words may quote a value
            raise CannotRender(kind, locale, f"a filter of its templates failed ({type(error).__name__})") from error

    def _facts(self, kind: Kind, locale: str, facts: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
        if kind.name == "policy_change":
            facts = {**facts, "changes": [{"text": change} for change in changes]}
        if kind.name == "digest":
            parts = facts.get("parts")
            if not isinstance(parts, list | tuple):
                raise WrongFacts("parts", "a list")
            facts = {"parts": [self._part(part, locale) for part in parts]}
        return checked_facts(kind, facts)

    def _part(self, part: Any, locale: str) -> dict[str, str]:
        kind = KINDS.get(part["kind"]) if isinstance(part, Mapping) and {"kind", "facts"} <= part.keys() else None
        if kind is None or not kind.in_digest:
            raise WrongFacts("parts", "service notices, each with kind and facts")
        compiled = self._template(kind, locale)
        assert compiled.in_digest is not None  # noqa: S101 - a kind with in_digest has its file
        values = checked_facts(kind, part["facts"]) | self._added(kind, "", "", "", None, asked=False)
        return {"heading": compiled.subject.render(values), "body": compiled.in_digest.render(values)}

    def _added(
        self, kind: Kind, name: str, member_no: str, notice_ref: str, unsubscribe_url: str | None, *, asked: bool = True
    ) -> dict[str, Any]:
        if kind.may_unsubscribe and asked:
            if unsubscribe_url is None:
                raise WrongFacts("unsubscribe_url", "given: members may say no to this notice")
            checked_link("unsubscribe_url", unsubscribe_url, self._brand.allowed)
        for where, value in (("member_no", member_no), ("notice_ref", notice_ref)):
            if CONTROL.search(value):
                raise WrongFacts(where, "text on one line")
        return {
            "name": addressed(name),
            "member_no": member_no,
            "brand": self._brand.name,
            "site_url": self._brand.site_url,
            "unsubscribe_url": unsubscribe_url if kind.may_unsubscribe else None,
            "postal_address": self._brand.postal_address,
            "notice_ref": notice_ref,
            "sms_signature": self._brand.sms_signature,
        }

    def _written(self, compiled: _Compiled, values: dict[str, Any]) -> Rendered:
        values["subject"] = subject = compiled.subject.render(values)
        sms = compiled.sms.render(values)
        for where, line in (("the subject", subject), ("the SMS", sms)):
            if CONTROL.search(line):
                raise WrongFacts(where, "one line")
        return Rendered(subject, compiled.text.render(values), compiled.html.render(values), sms, compiled.version)

    def _template(self, kind: Kind, locale: str) -> _Compiled:
        key = (kind.name, locale)
        if key not in self._compiled:
            self._compiled[key] = _compile(kind, locale, sources(self._folder, kind, locale), self._brand.currency)
        return self._compiled[key]


def _compile(kind: Kind, locale: str, texts: Sources, currency: str) -> _Compiled:
    refused = [*_refused(kind, texts.files), *_refused(None, texts.layout)]
    if refused:
        raise TemplateError(f"the lint refuses it: {refused[0]}")
    plain = NoticeEnvironment(locale, currency, autoescape=False)
    escaped = NoticeEnvironment(locale, currency, autoescape=True)
    files = {name: tidied(text).strip() for name, text in (texts.files | texts.layout).items()}
    button = f"{files['button.txt']}\n{{{{ site_url }}}}"
    text = "\n\n".join((files["greeting.txt"], files["body.txt"], button, f"-- \n{files['footer.txt']}\n"))
    return _Compiled(
        subject=plain.from_string(files["subject.txt"]),
        text=plain.from_string(text),
        html=escaped.from_string(_page(tidied(texts.frame), files, locale)),
        sms=plain.from_string(files["sms.txt"]),
        in_digest=plain.from_string(files["in_digest.txt"]) if kind.in_digest else None,
        version=texts.version,
    )


def _refused(kind: Kind | None, files: Mapping[str, str]) -> Iterator[str]:
    for name, text in files.items():
        problems = expression_problems(kind, text) or (markup_problems(text) if name.endswith(".html") else [])
        yield from (f"{name}:{problem}" for problem in problems)


def _page(frame: str, files: Mapping[str, str], locale: str) -> str:
    for slot in ("greeting.txt", "body.html", "button.txt", "footer.html"):
        frame = frame.replace(f"<!-- {slot} -->", files[slot])
    frame = frame.replace('lang="und"', f'lang="{locale.replace("_", "-")}"')
    tokens: list[str] = []

    def kept(token: re.Match[str]) -> str:
        # a value is text to the inliner, a tag a remark: text between the rows of a table would be moved out of it
        tokens.append(token[0])
        mark = f"\ue000{len(tokens) - 1}\ue001"
        return mark if token[0].startswith("{{") else f"<!--{mark}-->"

    inliner = css_inline.CSSInliner(load_remote_stylesheets=False, minify_css=True)
    return KEPT.sub(lambda mark: tokens[int(mark[1] or mark[2])], inliner.inline(TOKEN.sub(kept, frame)))
