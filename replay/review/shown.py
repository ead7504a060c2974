"""What a review says on a terminal: two tables, the rest is in its files. Texts from logs are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from detector.core.amounts import size
from detector.response.plain import printable
from replay.grid import cell, grid, put, short
from replay.review.judged import Json
from replay.review.page import headline

ROWS = 15
"""Rows of a table; the files have all."""
BAR = 10
WIDE = 110
"""Columns of a terminal that has room for kinds, bars, sources, and for what to do."""
HEADS = {"kind": "to tighten", "who": "whose", "why": "why", "do": "what to do"}


def show(told: Json, out: Path, console: Console | None = None) -> None:
    """Print it."""
    console = console or Console(highlight=False)
    console.print(Text(headline(told), "bold"))
    for remark in told["remarks"]:
        console.print(Text(f"! {printable(remark)}", "yellow"))
    _roles(told["roles"], console)
    _advice(told["tighten"], console)
    console.print()
    policies = sum(one["file"] is not None for one in told["policies"])
    console.print(Text(f"{policies:,} policies in {out / 'policies'}; the whole in {out / 'review.html'}"))


def _roles(roles: Sequence[Json], console: Console) -> None:
    wide = console.width >= WIDE
    figures = (">requests", ">objects", ">bytes")
    table = grid("who", "kind", *figures, "", ">idle days", "from") if wide else grid("who", *figures, ">idle days")
    most = max((one["bytes"] for one in roles), default=0)
    for one in roles[:ROWS]:
        who, idle = cell(short(one["role"])), str(one["idle_days"])
        much = f"{one['requests']:,}", f"{one['objects']:,}", size(one["bytes"])
        if wide:
            table.add_row(who, cell(one["kind"]), *much, _bar(one["bytes"], most), idle, _sources(one))
        else:
            table.add_row(who, *much, idle)
    put(table, len(roles), console)


def _sources(one: Json) -> Text:
    more = f" +{one['sources_count'] - 1}" if one["sources_count"] > 1 else ""
    return cell(f"{one['sources'][0]}{more}" if one["sources"] else "")


def _advice(advice: Sequence[Json], console: Console) -> None:
    names = ("kind", "who", "why", "do") if console.width >= WIDE else ("kind", "who", "why")
    table = grid(*(HEADS[name] for name in names))
    for one in advice[:ROWS]:
        table.add_row(*(cell(short(one[name])) for name in names))
    put(table, len(advice), console)


def _bar(value: int, most: int) -> Text:
    return Text("█" * round(BAR * value / most) if most else "", "blue")
