"""The first fence: which expressions a template may hold. It is an allow-list over Jinja's syntax tree.

Allowed are declared facts and their fields, our filters where they fit, conditions, and one level of loops over a list.
Whatever is not named here is refused, with a sentence for the person who edits the notice.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from jinja2 import Environment, TemplateSyntaxError, nodes

from notifications.formats import DATE_STYLES, WRITERS
from notifications.kinds import ADDED, Fact, Kind

Scope = Mapping[str, Fact]
COUNTED = Fact("number")
LOOP = Fact("item", fields={"first": COUNTED, "last": COUNTED, "index": COUNTED})
ALLOWED = (
    nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Const, nodes.Filter, nodes.If, nodes.For,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr,
)  # fmt: skip
CALLED = {
    "Call": "nothing can be called, and no method used",
    "Getitem": "write a field with a dot: lot.points",
    "Scope": "escaping cannot be switched off",
    "Include": "other files cannot be included",
    "Import": "other files cannot be imported",
    "FromImport": "other files cannot be imported",
    "Extends": "other files cannot be extended",
    "Assign": "{% set %} is not allowed",
    "Macro": "{% macro %} is not allowed",
    "Test": "“is …” is not allowed: write the condition itself",
    "Concat": "write the values one after another",
}
COMPUTED = (nodes.BinExpr, nodes.UnaryExpr)


def expression_problems(kind: Kind | None, source: str) -> list[str]:
    """What is wrong with the expressions of a file, as ``LINE: sentence``; ``kind`` None: a file of the layout."""
    try:
        tree = Environment().parse(source)  # noqa: S701 - it is only parsed
    except TemplateSyntaxError as error:
        return [f"{error.lineno}: this is not finished or not a template: {error.message}"]
    scope = dict(ADDED) | (dict(kind.facts) if kind else {"subject": Fact("text")})
    return list(dict.fromkeys(_problems(tree, scope)))


def used_facts(source: str) -> set[str]:
    """The facts a file uses; fields of lists as ``lots.points``."""
    lists: dict[str, str] = {}
    tree = Environment().parse(source)  # noqa: S701 - it is only parsed
    for loop in tree.find_all(nodes.For):
        if isinstance(loop.target, nodes.Name) and isinstance(loop.iter, nodes.Name):
            lists[loop.target.name] = loop.iter.name
    fields = {
        f"{lists.get(found.node.name, found.node.name)}.{found.attr}"
        for found in tree.find_all(nodes.Getattr)
        if isinstance(found.node, nodes.Name) and found.node.name != "loop"
    }
    names = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "load"}
    return fields | (names - lists.keys() - {"loop"})


def _problems(node: nodes.Node, scope: Scope, *, in_loop: bool = False) -> Iterator[str]:
    if isinstance(node, nodes.Output):
        for written in node.nodes:
            yield from _output(written, scope)
        return
    if isinstance(node, nodes.For):
        yield from _loop(node, scope, in_loop=in_loop)
        return
    if isinstance(node, nodes.If):
        yield from _value(node.test, scope)
        for child in (*node.body, *node.elif_, *node.else_):
            yield from _problems(child, scope, in_loop=in_loop)
        return
    if isinstance(node, nodes.Template):
        for child in node.body:
            yield from _problems(child, scope)
        return
    yield _refusal(node)


def _output(node: nodes.Expr, scope: Scope) -> Iterator[str]:
    if isinstance(node, nodes.TemplateData):
        return
    wrong = list(_value(node, scope))
    yield from wrong
    if not wrong:
        yield from _written(node, scope)


def _written(node: nodes.Expr, scope: Scope) -> Iterator[str]:
    if isinstance(node, nodes.CondExpr):
        for branch in (node.expr1, node.expr2):
            if branch is not None:
                yield from _written(branch, scope)
        return
    fact = _fact(node, scope)
    if fact is None or (fact.shape in ("text", "url") and not fact.choices):
        return
    name = _named(node)
    if fact.choices:
        words = ", ".join(fact.choices)
        yield f"{node.lineno}: '{name}' is a code ({words}): choose words with {{% if {name} == \"…\" %}}"
    elif fact.shape == "item":
        yield f"{node.lineno}: '{name}' is an item of a list: write {' or '.join(f'{name}.{field}' for field in fact.fields)}"
    elif fact.shape == "list":
        yield f"{node.lineno}: '{name}' is a list: write {{% for item in {name} %}} … {{% endfor %}}"
    else:
        fits = [
            f"{name}|{filter_}"
            for filter_, (takes, gives) in WRITERS.items()
            if fact.shape in takes and gives == "text"
        ]
        yield f"{node.lineno}: '{name}' needs a filter: {' or '.join(fits)}"


def _loop(node: nodes.For, scope: Scope, *, in_loop: bool) -> Iterator[str]:
    line = node.lineno
    if in_loop:
        yield f"{line}: a loop inside a loop is not allowed"
        return
    if node.recursive or node.test is not None or not isinstance(node.target, nodes.Name):
        yield f"{line}: a loop is written {{% for item in list %}}"
        return
    fact = scope.get(node.iter.name) if isinstance(node.iter, nodes.Name) else None
    if fact is None or fact.shape != "list":
        lists = ", ".join(sorted(name for name, known in scope.items() if known.shape == "list"))
        yield f"{line}: a loop can only go over a list{f': {lists}' if lists else ', and this notice has none'}"
        for child in node.body:  # and what nests in it
            if isinstance(child, nodes.For) or child.find(nodes.For):
                yield f"{line}: a loop inside a loop is not allowed"
        return
    if node.target.name in scope:
        yield f"{line}: '{node.target.name}' is a fact already: name the item otherwise"
        return
    inner = {**scope, node.target.name: Fact("item", fields=fact.fields), "loop": LOOP}
    for child in node.body:
        yield from _problems(child, inner, in_loop=True)
    for child in node.else_:
        yield from _problems(child, scope, in_loop=in_loop)


def _value(node: nodes.Node, scope: Scope) -> Iterator[str]:
    if not isinstance(node, ALLOWED):
        yield _refusal(node)
        return
    match node:
        case nodes.Name():
            if node.name not in scope:
                yield f"{node.lineno}: unknown fact '{node.name}'{_meant(node.name, scope)}"
        case nodes.Getattr():
            yield from _field(node, scope)
        case nodes.Filter():
            yield from _filter(node, scope)
        case nodes.Compare():
            yield from _compared(node, scope)
        case _:
            for child in node.iter_child_nodes():
                yield from _value(child, scope)


def _field(node: nodes.Getattr, scope: Scope) -> Iterator[str]:
    if node.attr.startswith("_") or not isinstance(node.node, nodes.Name):
        yield f"{node.lineno}: '.{node.attr}' is not allowed: only fields of a list's items are"
        return
    owner = scope.get(node.node.name)
    if owner is None:
        yield f"{node.lineno}: unknown fact '{node.node.name}'{_meant(node.node.name, scope)}"
    elif owner.shape != "item":
        yield f"{node.lineno}: '{node.node.name}' has no fields"
    elif node.attr not in owner.fields:
        yield f"{node.lineno}: '{node.node.name}' has no field '{node.attr}'; it has {', '.join(owner.fields)}"


def _filter(node: nodes.Filter, scope: Scope) -> Iterator[str]:
    if node.name not in WRITERS:
        yield f"{node.lineno}: the filter '{node.name}' is not allowed; allowed are {', '.join(WRITERS)}"
        return
    if node.node is None or node.kwargs or node.dyn_args or node.dyn_kwargs:
        yield f"{node.lineno}: the filter '{node.name}' is written behind a fact"
        return
    wrong = list(_value(node.node, scope))
    yield from wrong
    fact = _fact(node.node, scope)
    if not wrong and (fact is None or fact.shape not in WRITERS[node.name][0]):
        yield f"{node.lineno}: '{_named(node.node)}' cannot be written with '{node.name}'"
    yield from _arguments(node)


def _arguments(node: nodes.Filter) -> Iterator[str]:
    given = [argument.value for argument in node.args if isinstance(argument, nodes.Const)]
    texts = len(given) == len(node.args) and all(isinstance(value, str) for value in given)
    if node.name == "plural":
        if not (texts and len(given) == 2):
            yield f'{node.lineno}: write plural("point", "points")'
    elif node.name == "date":
        if given and not (texts and len(given) == 1 and given[0] in DATE_STYLES):
            yield f"{node.lineno}: a date is {', '.join(DATE_STYLES)}"
    elif node.args:
        yield f"{node.lineno}: '{node.name}' takes nothing in parentheses"


def _compared(node: nodes.Compare, scope: Scope) -> Iterator[str]:
    sides = [node.expr, *(operand.expr for operand in node.ops)]
    for side in sides:
        yield from _value(side, scope)
    choices = next((fact.choices for side in sides if (fact := _fact(side, scope)) and fact.choices), ())
    for side in sides:
        if choices and isinstance(side, nodes.Const) and side.value not in choices:
            yield f"{node.lineno}: '{side.value}' is never the case; it is one of {', '.join(choices)}"


def _refusal(node: nodes.Node) -> str:
    # Jinja gives a block it builds itself no line; what stands in it has one
    line = node.lineno or next((inner.lineno for inner in node.find_all(nodes.Node) if inner.lineno), 1)
    if isinstance(node, COMPUTED):
        return f"{line}: nothing can be computed in a notice"
    kind = type(node).__name__
    return f"{line}: {CALLED.get(kind, f'“{kind}” is not allowed in a notice')}"


def _fact(node: nodes.Node, scope: Scope) -> Fact | None:
    match node:
        case nodes.Name():
            return scope.get(node.name)
        case nodes.Getattr(node=nodes.Name() as owner):
            return scope[owner.name].fields.get(node.attr) if owner.name in scope else None
        case nodes.Filter():
            return Fact(WRITERS[node.name][1]) if node.name in WRITERS else None
        case _:
            return None


def _named(node: nodes.Node) -> str:
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{_named(node.node)}.{node.attr}"
        case nodes.Filter(node=nodes.Node() as inner):
            return f"{_named(inner)}|{node.name}"
        case _:
            return "this"


def _meant(name: str, scope: Scope) -> str:
    close = get_close_matches(name, scope, n=1)
    return f": did you mean '{close[0]}'?" if close else f"; known are {', '.join(sorted(scope))}"
