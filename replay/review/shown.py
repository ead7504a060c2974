"""What a review says on a terminal: two tables, the rest is in its files. Texts from logs are escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detector.response.plain import printable
from replay.amounts import size
from replay.review.judged import Json
from replay.review.page import headline

ROWS = 15
"""Rows of a table; the files have all."""
BAR = 10
WIDE = 110
"""Columns of a terminal that has room for bars, and for what to do."""
HEADS = {"kind": "to tighten", "who": "whose", "why": "why", "do": "what to do"}


def show(told: Json, out: Path, console: Console | None = None) -> None:
    """Print it."""
    console = console or Console(highlight=False)
    console.print(Text(headline(told), "bold"))
    for remark in told["remarks"]:
        console.print(Text(f"! {printable(remark)}", "yellow"))
    _roles(told["roles"], console)
    _advice(told["tighten"], console)
    policies = sum(one["file"] is not None for one in told["policies"])
    console.print(Text(f"{policies:,} policies in {out / 'policies'}; the whole in {out / 'review.html'}"))


def _roles(roles: Sequence[Json], console: Console) -> None:
    wide = console.width >= WIDE
    table = _table("who", "kind", ">requests", ">objects", ">bytes", *([""] if wide else []), ">idle days", "from")
    most = max((one["bytes"] for one in roles), default=0)
    for one in roles[:ROWS]:
        more = f" +{one['sources_count'] - 1}" if one["sources_count"] > 1 else ""
        figures = f"{one['requests']:,}", f"{one['objects']:,}", size(one["bytes"])
        table.add_row(
            *map(_text, (_short(one["role"]), one["kind"], *figures)),
            *([_bar(one["bytes"], most)] if wide else []),
            *map(_text, (one["idle_days"], f"{one['sources'][0]}{more}" if one["sources"] else "")),
        )
    _print(table, len(roles), console)


def _advice(advice: Sequence[Json], console: Console) -> None:
    names = ("kind", "who", "why", "do") if console.width >= WIDE else ("kind", "who", "why")
    table = _table(*(HEADS[name] for name in names))
    for one in advice[:ROWS]:
        table.add_row(*(_text(_short(one[name])) for name in names))
    _print(table, len(advice), console)


def _short(text: str) -> str:
    """An ARN without what all ARNs of its kind have; the account stays."""
    return re.sub(r"\barn:aws[a-z-]*:(?:iam|sts)::", "", text)


def _print(table: Table, rows: int, console: Console) -> None:
    if rows:
        console.print()
        console.print(table)
    if rows > ROWS:
        console.print(Text(f"… and {rows - ROWS:,} more", "dim"))


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head.lstrip(">"), justify="right" if head.startswith(">") else "left", overflow="fold")
    return table


def _bar(value: int, most: int) -> Text:
    return Text("█" * round(BAR * value / most) if most else "", "blue")


def _text(value: Any) -> Text:
    """Anybody's text: no markup, no control characters."""
    return Text(printable(value, 300))
