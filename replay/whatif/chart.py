"""`rules tune --out`: pages a day over thresholds, a line a window, as an SVG or a page that opens with no network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from detector.core.rule import Threshold
from detector.core.times import duration
from detector.errors import InputError
from detector.response.plain import printable
from replay.output import writing
from replay.whatif.shown import Tuning
from replay.whatif.suggest import cost
from replay.whatif.tune import Step, Table

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
COLOURS = ("#2471a3", "#c0392b", "#1e8449", "#b9770e", "#7d3c98", "#117a65", "#566573")
LEAST = 0.01
"""Pages a day that are drawn as the bottom line."""


class _Plane:
    """Both axes are logarithms."""

    def __init__(self, tables: Sequence[Table], rule: Threshold, budget: float) -> None:
        steps = [step for table in tables for step in table.steps]
        self._low, self._high = _decades([step.threshold for step in steps])
        self._most = _decades([budget, *(cost(step, rule) for step in steps)])[1]

    def x(self, threshold: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(threshold) - self._low) / max(1, self._high - self._low)

    def y(self, pages: float) -> float:
        low = math.log10(LEAST)
        share = (math.log10(max(pages, LEAST)) - low) / max(1, self._most - low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def ticks(self) -> tuple[list[float], list[float]]:
        """Of both axes."""
        across = [10.0**power for power in range(self._low, self._high + 1)]
        return across, [10.0**power for power in range(round(math.log10(LEAST)), self._most + 1)]


def _decades(values: Sequence[float]) -> tuple[int, int]:
    known = [value for value in values if value > 0] or [1.0]
    return math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))


def svg(tuning: Tuning) -> str:
    """The drawing."""
    plane = _Plane(tuning.tables, tuning.rule, tuning.budget)
    rule = tuning.rule
    title = f"{rule.id}: pages a day by threshold ({rule.measure} by {', '.join(rule.group_by)})"
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>',
        f"<title>{_text(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="600">{_text(title)}</text>',
        *_axes(plane),
        _line(plane, tuning.budget),
        *(part for number, table in enumerate(tuning.tables) for part in _curve(plane, table, tuning, number)),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _axes(plane: _Plane) -> Iterator[str]:
    across, up = plane.ticks()
    for value in across:
        x = plane.x(value)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,.0f}</text>'
    for value in up:
        y = plane.y(value)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        shown = "none" if value == LEAST else f"{value:g}"
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'


def _line(plane: _Plane, budget: float) -> str:
    y = plane.y(budget)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#333" stroke-dasharray="5 4"/>'
        f'<text x="{WIDTH - RIGHT + 6}" y="{y + 4:.1f}">budget {budget:g}</text>'
    )


def _curve(plane: _Plane, table: Table, tuning: Tuning, number: int) -> Iterator[str]:
    colour = COLOURS[number % len(COLOURS)]
    points = [(plane.x(step.threshold), plane.y(cost(step, tuning.rule)), step) for step in table.steps]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
    yield f'<rect x="{WIDTH - RIGHT + 6}" y="{TOP + 18 * number}" width="14" height="4" fill="{colour}"/>'
    yield f'<text x="{WIDTH - RIGHT + 26}" y="{TOP + 6 + 18 * number}">window {duration(table.window)}</text>'
    for x, y, step in points:
        size = 6 if _is_chosen(table, step, tuning) else 3
        said = f"{step.threshold:,.0f} in {duration(table.window)}: {cost(step, tuning.rule):,.2f} a day"
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"><title>{_text(said)}</title></circle>'


def _is_chosen(table: Table, step: Step, tuning: Tuning) -> bool:
    return (table.window, step.threshold) == (tuning.suggestion.window, tuning.suggestion.threshold)


def _text(text: object) -> str:
    return escape(printable(text, 500))


def page(tuning: Tuning) -> str:
    """The drawing with all that the terminal says."""
    from io import StringIO

    from rich.console import Console

    from replay.whatif.shown import show

    told = StringIO()
    show(tuning, Console(file=told, width=150, color_system=None, force_terminal=False), every=True)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>bucketwatch: {_text(tuning.rule.id)}</title>\n"
        "<style>body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; } pre { font-size: 13px; }</style>\n"
        f"</head>\n<body>\n{svg(tuning)}<pre>{escape(told.getvalue())}</pre>\n</body>\n</html>\n"
    )


WRITERS = {".svg": svg, ".html": page}


def check(path: Path) -> None:
    """Raises InputError for a name that says neither."""
    if path.suffix not in WRITERS:
        raise InputError(f"--out: expected a name that ends in .svg or .html, got '{path}'")


def write(tuning: Tuning, path: Path) -> None:
    """Into a file. Raises UnreadablePathError."""
    with writing(path, "name another file with --out"):
        path.write_text(WRITERS[path.suffix](tuning), "utf-8", newline="\n")
