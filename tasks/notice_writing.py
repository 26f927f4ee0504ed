"""A claimed notice as a message: the member's words, the programme's brand, links and headers. No clock, no network."""

import datetime as dt
import functools
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine

from infra import unsubscribe
from infra.senders.protocol import Message, Sender
from notifications.brand import Brand
from notifications.kinds import KINDS
from notifications.programme_rules import Example, rules_in_words
from notifications.rendering import CannotRender, Notices, Rendered
from notifications.samples import samples
from points_ledger import policy
from points_ledger.contacts import Contact
from points_ledger.dispatch import kept_dictionary
from points_ledger.outbox import Claimed
from tasks.dispatch import Written

Changes = Callable[[int, str], list[str]]


def brand_of(document: Mapping[str, Any], unsubscribe_url: str) -> Brand:
    """Who notices of a programme come from; the unsubscribe page's host may be linked to as well."""
    said = document["notices"]
    hosts = frozenset((urlsplit(said["site_url"]).hostname or "", urlsplit(unsubscribe_url).hostname or ""))
    return Brand(
        document["programme"]["name"], said["site_url"], said["postal_address"], said["sms_signature"],
        document["programme"]["currency"], hosts,
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def compiled(brand: Brand) -> Notices:
    """The notices of a brand; compiling them takes longer than sending a night's."""
    return Notices(brand)


class Writer:
    """Writes claimed notices of one programme. Threads may share it."""

    def __init__(
        self, document: Mapping[str, Any], *, key: bytes, unsubscribe_url: str, sender_address: str, changes: Changes
    ) -> None:
        """``key`` signs unsubscribe links; ``changes`` are the sentences of a policy change in a locale."""
        self.notices = compiled(brand_of(document, unsubscribe_url))
        self.default_locale: str = document["notices"]["default_locale"]
        self._key, self._url = key, unsubscribe_url
        self._domain = sender_address.rpartition("@")[2]
        self._changes = changes

    def __call__(self, row: Claimed, contact: Contact) -> Written:
        """The message.

        Raises:
            notifications.rendering.CannotRender: the facts or the templates are not right.
        """
        kind, url = KINDS.get(row.kind), None
        if kind is not None and kind.may_unsubscribe and row.class_ in unsubscribe.CLASSES:
            url = f"{self._url}/{unsubscribe.token(self._key, row.member_id, row.class_)}"
        rendered = self.rendered(row.kind, row.locale, row.facts, contact.name, row.member_no, str(row.notice_id), url)
        return Written(
            Message(
                row.notice_id,
                contact.email if row.channel == "email" else contact.phone,
                row.kind,
                row.locale or self.default_locale,
                rendered.subject,
                rendered.text,
                rendered.html,
                rendered.sms,
                f"<notice-{row.notice_id}@{self._domain}>",
                unsubscribe.headers(url) if url else (),
                {name: str(value) for name, value in row.facts.items() if isinstance(value, str | int)},
            ),
            rendered.template_version,
        )

    def rendered(
        self, kind: str, locale: str | None, facts: Mapping[str, Any], name: str, member_no: str, ref: str, url: str | None
    ) -> Rendered:  # fmt: skip
        """The words alone, also for a preview."""
        locale = locale or self.default_locale
        if kind == "policy_change" and not isinstance(facts.get("version"), int):
            raise CannotRender(kind, locale, "its facts name no version")
        changes = self._changes(facts["version"], locale) if kind == "policy_change" else ()
        return self.notices.render(
            kind, locale, facts, name=name, member_no=member_no, notice_ref=ref, unsubscribe_url=url, changes=changes
        )


class Dictionaries:
    """What proofs are compressed with: for each version of a template its message with sample facts, kept in the ledger."""

    def __init__(self, engine: Engine, writer: Writer, sender: Sender, url: str) -> None:
        """Nothing is made yet."""
        self._engine, self._writer, self._sender, self._url = engine, writer, sender, url
        self._known: dict[str, bytes] = {}

    def __call__(self, row: Claimed, template_version: str) -> bytes:
        """The dictionary of a version; the one that the ledger has, if it has one."""
        if template_version not in self._known:
            content = self._sender.compose(self._sample(row)).compact
            with self._engine.begin() as connection:
                self._known[template_version] = kept_dictionary(connection, template_version, content)
        return self._known[template_version]

    def _sample(self, row: Claimed) -> Message:
        locale = row.locale or self._writer.default_locale
        sample = samples(row.kind, locale)["typical"]
        url = self._url if KINDS[row.kind].may_unsubscribe else None
        written = self._writer.notices.render(
            row.kind, locale, sample.facts, name="", member_no="0", notice_ref="0", unsubscribe_url=url, changes=sample.changes
        )  # fmt: skip
        nobody = "nobody@example.com" if row.channel == "email" else "+10000000000"
        return Message(
            0, nobody, row.kind, locale, written.subject, written.text, written.html, written.sms, "<notice-0@example.com>",
            unsubscribe.headers(url) if url else (), dict.fromkeys(row.facts, "0"),
        )  # fmt: skip


def sentences_of_change(engine: Engine, filled: Callable[[Any], Any]) -> Changes:
    """What a version of the programme changes for members: its sentences that the version before did not have."""
    known: dict[tuple[int, str], list[str]] = {}

    def changes(version: int, locale: str) -> list[str]:
        lang = "zh" if locale.startswith("zh") else "en"
        if (version, lang) not in known:
            with engine.connect() as connection:
                both = [v for v in policy.versions(connection) if v.version in (version - 1, version)]
                told = [_sentences(connection, filled(v.document), v.effective_from, lang) for v in both]
            known[version, lang] = [line for line in told[-1] if line not in told[0]]
        return known[version, lang]

    return changes


def _sentences(connection: Any, document: Any, since: dt.date, lang: Any) -> list[str]:
    last_day = policy.valid_through(connection, document["expiry"], earned_on=since)
    words = rules_in_words(document, lang=lang, since=since, example=Example(since, last_day))
    return [line.removeprefix("- ").strip() for line in words.splitlines()[2:] if line.strip()]
