"""Every refusal of the ledger travels between processes with its facts and its words."""

import datetime as dt
import pickle

import pytest

from points_ledger import errors
from points_ledger.errors import GateFailed, ImplausibleValue, LedgerError, WaitsForPerson

FACTS = {
    GateFailed: (dt.date(2026, 1, 31), {"I1": ["member_id 7: wallet 5", "member_id 8: wallet 6"], "I4": ["seq 3"]}),
    ImplausibleValue: (17, "quantity", "1e30", "is beyond any quantity"),
    WaitsForPerson: (4, dt.date(2026, 1, 31), "it would take 100 of 120 outstanding points"),
}


def family(parent):
    return [parent, *(kind for child in parent.__subclasses__() for kind in family(child))]


def ours(parent=LedgerError):
    return [kind for kind in family(parent) if kind.__module__ == errors.__name__]


def test_every_error_of_the_module_belongs_to_the_family():
    named = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert {kind for kind in named if kind.__module__ == errors.__name__} == set(ours())
    assert set(FACTS) < set(ours())


@pytest.mark.parametrize("kind", ours())
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling_with_its_facts_and_its_words(kind, protocol):
    error = kind(*FACTS.get(kind, ("member 4711 has fewer than 5 points",)))
    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
    assert type(again) is kind
    assert (str(again), vars(again), again.args) == (str(error), vars(error), error.args)


@pytest.mark.parametrize("kind", [kind for kind in ours() if kind not in FACTS])
def test_the_message_is_the_docstring_and_then_the_detail(kind):
    sentence = kind.__doc__.splitlines()[0]
    assert sentence.endswith(".")
    assert str(kind()) == sentence
    assert str(kind("a fact")) == f"{sentence} a fact"


def test_the_facts_of_an_error_are_in_its_words():
    assert str(ImplausibleValue(*FACTS[ImplausibleValue])) == 'line 17, column quantity: "1e30" is beyond any quantity'
    assert "2026-01-31" in str(GateFailed(*FACTS[GateFailed]))
    assert "I1: member_id 7: wallet 5; I4: seq 3" in str(GateFailed(*FACTS[GateFailed]))
    assert "--accept-plan 4" in str(WaitsForPerson(*FACTS[WaitsForPerson]))
    assert "it would take 100 of 120" in str(WaitsForPerson(*FACTS[WaitsForPerson]))
