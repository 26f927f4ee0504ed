"""The page of one run of checks, for auditors: every check, what it answered, the rows it found, and the query it asked.

It carries what Great Expectations' Data Docs do, and needs no other file: those load fifteen from six servers, and say
nothing of severity or owner. What Great Expectations itself answered is kept beside it, as it is (``validation.json``).
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from expectations import pages, runner
from expectations.catalogue import BY_ID
from points_ledger.check_findings import CheckRun

SHOWN: Final = 200  # rows of one check on the page; counted are all
ORDER: Final = ("error", "fail", "pass")
ENGINES: Final = {"great_expectations": "Great Expectations", "bare": "bare SQL"}


def documents(run: CheckRun, number: int, validation: Mapping[str, Any] | None) -> dict[str, str]:
    """The files of a run by name; ``validation``: what Great Expectations answered, None when it did not run."""
    made = {"index.html": render(run, number, has_validation=validation is not None)}
    if validation is not None:
        made["validation.json"] = json.dumps(validation, indent=1, ensure_ascii=False, default=str) + "\n"
    return made


def render(run: CheckRun, number: int, *, has_validation: bool) -> str:
    """The page; what could not run and what failed stands first."""
    engine = ENGINES[run.engine]
    if run.engine == "great_expectations":
        engine = f"{engine} {version('great-expectations')}"
    answers = sorted(run.answers, key=lambda answer: ORDER.index(answer.outcome))
    return pages.template("run.html").render(
        run=run,
        number=number,
        engine=engine,
        bound_to=runner.values(run.as_of, run.form),
        rows=[
            (BY_ID[answer.check_id], answer, runner.query(BY_ID[answer.check_id], "full").text) for answer in answers
        ],
        counts={outcome: sum(answer.outcome == outcome for answer in answers) for outcome in ORDER},
        shown=SHOWN,
        has_validation=has_validation,
    )
