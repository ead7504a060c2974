"""What `rules tune` says: as JSON, and as tables and a small chart for a terminal. Texts from logs are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from detector.core.rule import Threshold
from detector.core.times import duration, iso
from detector.response.plain import printable
from replay.whatif.labels import Catch
from replay.whatif.suggest import Suggestion, cost
from replay.whatif.summary import Summary
from replay.whatif.tune import QUANTILES, Spread, Step, Table

BAR = 14
WIDE = 100
"""Columns of a terminal that has room for bars."""
FIGURES = 62
"""Columns that figures take, about."""
NAMES = 2
PERCENT = tuple(f"p{share * 100:g}" for share in QUANTILES)


@dataclass(frozen=True, slots=True)
class Tuning:
    """All there is to say. cached: whether history was in the cache. read_seconds, counted_seconds: what it took."""

    rule: Threshold
    summary: Summary
    tables: Sequence[Table]
    budget: float
    suggestion: Suggestion
    cached: bool
    read_seconds: float
    counted_seconds: float


def to_json(tuning: Tuning) -> dict[str, Any]:
    """Everything, for scripts."""
    rule, summary = tuning.rule, tuning.summary
    return {
        "schema": "bucketwatch.tuning.v1",
        "rule": {
            "id": rule.id, "measure": rule.measure, "window": duration(rule.window), "threshold": rule.threshold,
            "group_by": list(rule.group_by), "severity": rule.severity, "stage": rule.stage,
        },
        "history": {
            "records": summary.records, "access_events": summary.events, "days": round(summary.days, 3),
            "first_event_time": iso(summary.first) if summary.events else None,
            "last_event_time": iso(summary.last) if summary.events else None,
            "groups": summary.groups, "rows": len(summary), "not_evaluated": summary.lacking,
            "cached": tuning.cached, "read_seconds": round(tuning.read_seconds, 3),
            "counted_seconds": round(tuning.counted_seconds, 3),
        },
        "budget_pages_a_day": tuning.budget,
        "windows": [_table_json(table, rule) for table in tuning.tables],
        "suggestion": {
            "window": duration(tuning.suggestion.window), "threshold": tuning.suggestion.threshold,
            "reasons": list(tuning.suggestion.reasons),
        },
    }  # fmt: skip


def _table_json(table: Table, rule: Threshold) -> dict[str, Any]:
    return {
        "window": duration(table.window),
        "window_seconds": table.window,
        "day_maxima": [_spread_json(spread) for spread in table.spreads],
        "thresholds": [_step_json(step, rule) for step in table.steps],
    }


def _spread_json(spread: Spread) -> dict[str, Any]:
    quantiles = dict(zip(PERCENT, spread.quantiles, strict=True))
    return {"kind": spread.kind, "group_days": spread.group_days, **quantiles, "max": spread.most}


def _step_json(step: Step, rule: Threshold) -> dict[str, Any]:
    named = [
        {"group": dict(zip(rule.group_by, one.shown, strict=True)), "findings": one.findings, "peak": one.peak}
        for one in step.named
    ]
    return {
        "threshold": step.threshold,
        "findings": step.findings,
        "findings_a_day": round(step.findings_a_day, 4),
        "pages_a_day": round(step.pages_a_day, 4),
        "busiest_day": step.busiest,
        "groups": step.groups,
        "named": named,
        "thefts": [_catch_json(one) for one in step.catches],
    }


def _catch_json(catch: Catch) -> dict[str, Any]:
    label = catch.label
    return {
        "kind": label.kind, "who": label.shown, "started_at": iso(label.begin), "caught": catch.delay is not None,
        "delay_seconds": catch.delay, "already_open": catch.already,
    }  # fmt: skip


def show(tuning: Tuning, console: Console, every: bool) -> None:
    """For a person. every: the whole table of each window, not only of the rule's own and the suggested one."""
    rule, suggestion = tuning.rule, tuning.suggestion
    console.print(_head(tuning), soft_wrap=True)
    for table in tuning.tables:
        if every or table.window in (rule.window, suggestion.window):
            console.print(_steps(table, tuning, console.width))
    others = [table for table in tuning.tables if not every and table.window not in (rule.window, suggestion.window)]
    if others:
        console.print(_others(others, tuning))
    own = next((table for table in tuning.tables if table.window == suggestion.window), tuning.tables[0])
    console.print(_spreads(own, rule))
    for line in _advice(tuning):
        console.print(line, soft_wrap=True)


def _head(tuning: Tuning) -> Text:
    rule, summary = tuning.rule, tuning.summary
    what = f"{rule.threshold:,} {rule.measure} in {duration(rule.window)} by {', '.join(rule.group_by)}"
    period = f", {iso(summary.first)} to {iso(summary.last)} ({summary.days:,.1f} days)" if summary.events else ""
    came = "from the cache" if tuning.cached else f"read in {tuning.read_seconds:,.1f} s"
    return Text(
        f"{rule.id}: {what}\n{summary.records:,} records, {summary.groups:,} groups that the rule counts{period}; "
        f"{came}, counted in {tuning.counted_seconds:,.1f} s\n"
    )


def _steps(table: Table, tuning: Tuning, width: int) -> Grid:
    grid = Grid(title=f"window {duration(table.window)}", title_justify="left", box=None, pad_edge=False)
    wide = width >= WIDE
    room = width - FIGURES - (BAR + 2) * wide
    labelled = bool(table.steps and table.steps[0].catches)
    heads = ["threshold", "finds/day", "pages/day", "most/day", "groups", *(["caught"] if labelled else [])]
    _figures(grid, heads)
    if wide:
        grid.add_column("pages, log", no_wrap=True)
    grid.add_column("who", no_wrap=True)
    most = max((cost(step, tuning.rule) for step in table.steps), default=0.0)
    for step in table.steps:
        caught = [f"{step.caught}/{len(step.catches)}"] if labelled else []
        bar = [_bar(cost(step, tuning.rule), most)] if wide else []
        grid.add_row(
            f"{_marks(table, step, tuning)}{step.threshold:,.0f}", f"{step.findings_a_day:,.2f}",
            f"{step.pages_a_day:,.2f}", f"{step.busiest:,}", f"{step.groups:,}", *caught,
            *bar,
            printable(_who(step), max(8, room)), style=_style(table, step, tuning),
        )  # fmt: skip
    return grid


def _figures(grid: Grid, heads: Sequence[str]) -> None:
    """Columns that are never cut: a terminal that is too narrow cuts texts."""
    for name in heads:
        grid.add_column(name, justify="right", no_wrap=True)


def _marks(table: Table, step: Step, tuning: Tuning) -> str:
    now = (table.window, step.threshold) == (tuning.rule.window, tuning.rule.threshold)
    wanted = (table.window, step.threshold) == (tuning.suggestion.window, tuning.suggestion.threshold)
    return "* " * wanted + "> " * now


def _style(table: Table, step: Step, tuning: Tuning) -> str:
    wanted = (table.window, step.threshold) == (tuning.suggestion.window, tuning.suggestion.threshold)
    return "bold" if wanted else "dim" if cost(step, tuning.rule) > tuning.budget else ""


def _bar(value: float, most: float) -> str:
    """Length by the logarithm, from a hundredth of a page on."""
    from math import log10

    return "█" * round(BAR * log10(1 + 100 * value) / log10(1 + 100 * most)) if most else ""


def _who(step: Step) -> str:
    named = "; ".join(printable(_short(one.shown), 60) for one in step.named[:NAMES])
    return named + (f" and {step.groups - NAMES:,} more" if step.groups > NAMES else "")


def _short(shown: Iterable[str]) -> str:
    """Of ARNs what tells them apart: the name at their end."""
    names = (text.split(":", 5)[-1] if text.startswith("arn:") else text for text in shown)
    return ", ".join(name.removeprefix("assumed-role/") for name in names)


def _others(tables: Sequence[Table], tuning: Tuning) -> Grid:
    """Of the other windows only the lowest threshold within the budget."""
    grid = Grid(title="other windows, within the budget", title_justify="left", box=None, pad_edge=False)
    _figures(grid, ["window", "threshold", "finds/day", "pages/day", "groups", "caught"])
    for table in tables:
        step = next((one for one in table.steps if cost(one, tuning.rule) <= tuning.budget), None)
        if step is None:
            grid.add_row(duration(table.window), "none")
        else:
            caught = f"{step.caught}/{len(step.catches)}" if step.catches else ""
            grid.add_row(
                duration(table.window), f"{step.threshold:,.0f}", f"{step.findings_a_day:,.2f}",
                f"{step.pages_a_day:,.2f}", f"{step.groups:,}", caught,
            )  # fmt: skip
    return grid


def _spreads(table: Table, rule: Threshold) -> Grid:
    title = f"largest {rule.measure} in {duration(table.window)} of a group's day"
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column("kind", overflow="ellipsis", no_wrap=True, max_width=30)
    _figures(grid, ["group-days", *PERCENT, "max"])
    for spread in table.spreads:
        values = (f"{value:,.0f}" for value in (*spread.quantiles, spread.most))
        grid.add_row(printable(spread.kind, 60), f"{spread.group_days:,}", *values)
    return grid


def _advice(tuning: Tuning) -> Iterator[Text]:
    suggestion = tuning.suggestion
    for one in tuning.summary.lacking:
        yield Text(f"\nnote: {one['log']} records lack {', '.join(one['missing'])}, which the rule asks for")
    if suggestion.threshold is None:
        yield Text("\nno suggestion", style="bold")
    else:
        same = (suggestion.window, suggestion.threshold) == (tuning.rule.window, tuning.rule.threshold)
        keep = ", as it is" if same else ""
        what = f"{suggestion.threshold:,.0f} in {duration(suggestion.window)}{keep}"
        yield Text(f"\nsuggested: {what}", style="bold")
    for reason in suggestion.reasons:
        yield Text(f"  - {printable(reason, 2000)}")
    yield Text("> the rule as it is   * suggested   most/day: findings of the busiest day")
