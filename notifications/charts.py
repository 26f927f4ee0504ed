"""Charts as inline SVG, written by hand: no library, no script, the same bytes for the same figures.

Colours are classes (``old``, ``new``, ``up``, ``down``, ``same``) that the page's style fills in for light, dark and paper;
every chart names itself and its figures in words for those who do not see it.
"""

from collections.abc import Sequence
from html import escape

WIDTH = 760
LEFT = 150  # of horizontal bars: room for their labels
GUTTER = 64  # of vertical axes: room for the largest figure
TICKS = 4


def line_chart(title: str, labels: Sequence[str], series: Sequence[tuple[str, str, Sequence[int]]]) -> str:
    """Lines over the same labels; a series is (name, class, one value for each label)."""
    height, top, bottom = 260, 34, 30
    values = [value for _, _, line in series for value in line]
    low, high = min(0, *values), _nice(max(1, *values))
    span = high - low

    def x(place: int) -> float:
        return GUTTER + (WIDTH - GUTTER - 16) * (place / max(1, len(labels) - 1))

    def y(value: float) -> float:
        return top + (height - top - bottom) * (high - value) / span

    parts = [_legend([(name, css) for name, css, _ in series])]
    for step in range(TICKS + 1):
        at = low + span * step / TICKS
        parts.append(f'<line class="grid" x1="{GUTTER}" x2="{WIDTH - 16}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>')
        parts.append(f'<text class="axis" x="{GUTTER - 8}" y="{y(at) + 4:.1f}" text-anchor="end">{_short(at)}</text>')
    for place in sorted({round(n * (len(labels) - 1) / (TICKS + 1)) for n in range(TICKS + 2)}):
        anchor = "end" if place and place == len(labels) - 1 else "middle"
        parts.append(
            f'<text class="axis" x="{x(place):.1f}" y="{height - 8}" text-anchor="{anchor}">{escape(labels[place])}</text>'
        )
    for name, css, line in series:
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(line))
        parts.append(f'<polyline class="line {css}" points="{points}"><title>{escape(name)}</title></polyline>')
        if len(line) == 1:
            parts.append(f'<circle class="{css}" cx="{x(0):.1f}" cy="{y(line[0]):.1f}" r="3.5"/>')
    words = "; ".join(f"{name}: {line[0]:,} on {labels[0]}, {line[-1]:,} on {labels[-1]}" for name, _, line in series)
    return _svg(title, words, height, parts)


def bar_chart(title: str, names: tuple[str, str], rows: Sequence[tuple[str, int, int]]) -> str:
    """Two horizontal bars a row: (label, what was, what would be)."""
    top, step, thick = 34, 44, 15
    height = top + step * len(rows) + 4
    most = max(1, *(value for _, *pair in rows for value in pair))
    room = WIDTH - LEFT - 84  # the figure stands behind the bar
    parts = [_legend([(names[0], "old"), (names[1], "new")])]
    for place, (label, *pair) in enumerate(rows):
        y = top + place * step
        parts.append(
            f'<text class="label" x="{LEFT - 10}" y="{y + thick + 5}" text-anchor="end">{escape(label)}</text>'
        )
        for below, (css, value) in enumerate(zip(("old", "new"), pair, strict=True)):
            at, wide = y + below * (thick + 2), room * max(0, value) / most
            parts.append(f'<rect class="{css}" x="{LEFT}" y="{at}" width="{wide:.1f}" height="{thick}" rx="2"/>')
            parts.append(f'<text class="figure" x="{LEFT + wide + 6:.1f}" y="{at + 12}">{value:,}</text>')
    words = "; ".join(f"{label}: {old:,} and {new:,}" for label, old, new in rows)
    return _svg(title, words, height, parts)


def value_chart(title: str, rows: Sequence[tuple[str, int]], css: str = "new") -> str:
    """One horizontal bar a row: (label, value); values below zero in the colour of what goes down."""
    step, thick = 25, 15
    most = max(1, *(abs(value) for _, value in rows)) if rows else 1
    room = WIDTH - LEFT - 110  # the figure stands behind the bar
    parts = []
    for place, (label, value) in enumerate(rows):
        y, wide = 4 + place * step, room * abs(value) / most
        parts.append(f'<text class="label" x="{LEFT - 10}" y="{y + 12}" text-anchor="end">{escape(label)}</text>')
        colour = "down" if value < 0 else css
        parts.append(f'<rect class="{colour}" x="{LEFT}" y="{y}" width="{wide:.1f}" height="{thick}" rx="2"/>')
        parts.append(f'<text class="figure" x="{LEFT + wide + 6:.1f}" y="{y + 12}">{value:,}</text>')
    words = "; ".join(f"{label}: {value:,}" for label, value in rows)
    return _svg(title, words, 4 + step * max(1, len(rows)), parts)


def share_chart(title: str, parts: Sequence[tuple[str, str, int]]) -> str:
    """One bar cut into shares; a part is (name, class, count)."""
    total = sum(count for _, _, count in parts)
    at, drawn = 0.0, []
    for name, css, count in parts:
        wide = WIDTH * count / total if total else 0.0
        drawn.append(
            f'<rect class="{css}" x="{at:.1f}" y="30" width="{wide:.1f}" height="26"><title>{escape(name)}: {count:,}</title></rect>'
        )
        at += wide
    words = "; ".join(f"{name}: {count:,}" for name, _, count in parts)
    return _svg(title, words, 60, [_legend([(f"{name} {count:,}", css) for name, css, count in parts]), *drawn])


def _svg(title: str, words: str, height: int, parts: Sequence[str]) -> str:
    head = f'<svg role="img" viewBox="0 0 {WIDTH} {height}" aria-label="{escape(f"{title}. {words}")}">'
    return f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>"


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    at, parts = 0, []
    for name, css in entries:
        parts.append(f'<rect class="{css}" x="{at}" y="6" width="12" height="12" rx="2"/>')
        parts.append(f'<text class="label" x="{at + 18}" y="16">{escape(name)}</text>')
        at += 40 + 7 * len(name)
    return "".join(parts)


def _nice(value: int) -> int:
    """The next figure whose quarters are short to write."""
    power = int(10 ** len(str(value)))
    return next(
        size * power // 100 for size in (10, 12, 16, 20, 24, 32, 40, 60, 80, 100) if size * power >= 100 * value
    )


def _short(value: float) -> str:
    for size, sign in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"
