"""Jinja narrowed to what a notice needs: values, filters, conditions, loops over lists. The second fence.

The first one is ``notifications.lint``. Here nothing can be called, no attribute of a Python object can be read (a fact's
fields are keys), no operator computes, there are no globals, no tests, no other templates, and a name nobody declared
is an error.
"""

import re
from typing import Any, NoReturn

from jinja2 import DictLoader, StrictUndefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifications.formats import filters

# a value, a tag or a remark
TOKEN = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
# a line that holds nothing but tags and remarks leaves no empty line behind; any other line keeps its end
ONLY_TAGS = re.compile(r"^[ \t]*((?:\{%(?:[^%]|%(?!\}))*%\}|\{#(?:[^#]|#(?!\}))*#\})+)[ \t]*\n", re.MULTILINE)


class NoticeEnvironment(ImmutableSandboxedEnvironment):
    """One language; ``autoescape`` for HTML."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, locale: str, currency: str, *, autoescape: bool) -> None:
        """With nothing to load: a template can reach no other."""
        super().__init__(loader=DictLoader({}), autoescape=autoescape, undefined=StrictUndefined, cache_size=0)
        self.filters = filters(locale, currency)
        self.globals = {}
        self.tests = {}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ARG002 - Jinja's signature
        """None is: facts are mappings, and their keys are found without it."""
        return False

    def is_safe_callable(self, obj: Any) -> bool:  # noqa: ARG002 - Jinja's signature
        """Nothing is called in a notice."""
        return False

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> NoReturn:  # noqa: ARG002 - Jinja's
        """Nothing is computed in a notice."""
        raise SecurityError(f"{operator} is not allowed in a notice")


def tidied(source: str) -> str:
    """A template without the ends of lines that hold only tags."""
    return ONLY_TAGS.sub(r"\1", source)
