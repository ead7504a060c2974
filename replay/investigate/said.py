"""An investigation in words: a summary for notification, and what the terminal shows. Texts from logs are escaped.

Source of what a notification needs: GDPR article 33 (3) and (4): nature, categories and number of people and records
concerned, and what is not known yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from detector.core.amounts import counted, size
from detector.response.plain import printable
from replay.grid import cell, grid, put, short

Json = dict[str, Any]
LISTED = 50
"""Names that the summary lists; the files have all."""
ROWS = 10
"""Rows of a table on the terminal."""


def notification(loss: Json) -> str:
    """A summary for whoever has to notify people: Markdown, which reads as plain text, too."""
    return "\n".join(_notification(loss)) + "\n"


def _notification(loss: Json) -> Iterator[str]:
    yield from ("# Summary for notification", "")
    yield f"What {_who(loss)} took, as far as the logs show. All of it, object by object: objects.csv, objects.parquet."
    yield from ("", "## What", "", f"- {headline(loss)}.")
    yield f"- First {loss['loss']['first'] or 'never'}, last {loss['loss']['last'] or 'never'} (UTC)."
    yield from (
        f"- Bucket {code(row['bucket'])}: {counted(row['objects'], 'object')}." for row in loss["buckets"][:LISTED]
    )
    if loss["only_asked_for"]:
        yield f"- {counted(loss['only_asked_for'], 'more object')} asked for and refused: nothing of these left."
    yield from ("", "## Whose", "", *_whose(loss["owners"]))
    yield from ("", "## How sure", "")
    yield from (
        f"- {counted(row['objects'], 'object')}: {row['means']} ({counted(row['sessions'], 'session')})."
        for row in loss["by_reason"]
    )
    yield f"- The rule: {loss['followed']['rule']}. Who was met and not followed is in report.html and summary.json."
    yield from _logs(loss.get("logs"))
    if loss["copied_to"]:
        yield from ("", "## Copies", "", *map(_copies, loss["copied_to"]))
    yield from (
        "",
        "## What the logs cannot show",
        "",
        *(f"- {printable(text, 2000)}." for text in loss["cannot_show"]),
    )


def headline(loss: Json) -> str:
    """How much, in a line."""
    at_least = "at least " if loss["bytes_at_least"] else ""
    whose = f" of {counted(loss['owners']['count'], 'owner')}" if loss["owners"]["count"] is not None else ""
    return f"{counted(loss['objects'], 'object')}{whose}, {at_least}{size(loss['bytes'])}"


def code(text: object) -> str:
    """A text as code in Markdown, whatever is in it."""
    shown = printable(text, 500)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if "`" in shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _who(loss: Json) -> str:
    return (
        code(loss["who"]["asked"]) if "finding_id" not in loss["who"] else f"finding {code(loss['who']['finding_id'])}"
    )


def _whose(owners: Json) -> Iterator[str]:
    if owners["pattern"] is None:
        yield "Not known: no pattern says whose an object is (`--owner '{contractor}/**'`)."
        return
    patterns = ", ".join(map(code, owners["pattern"]))
    yield f"{counted(owners['count'], 'owner')}, by the keys of the objects ({patterns})."
    yield ""
    yield from (
        f"- {code(row['owner'])}: {counted(row['objects'], 'object')}, {row['first']} to {row['last']}"
        for row in owners["shown"][:LISTED]
    )
    if owners["count"] > LISTED:
        yield f"- and {owners['count'] - LISTED:,} more: objects.csv has every object with its owner"
    if owners["objects_without"]:
        yield f"- {counted(owners['objects_without'], 'object')} whose keys name no owner by this pattern"


def _logs(logs: Json | None) -> Iterator[str]:
    if logs:
        yield (
            f"- Logs: {counted(logs['files'], 'file')}, {counted(logs['access_events'], 'access event')}; "
            f"{counted(logs['rejected'], 'record')} could not be read."
            f" The archive {printable(logs['covers'], 1000)}."
        )


def _copies(one: Json) -> str:
    new = [reader for reader in one["readers"] if not reader["usual"]]
    account = f" of account {code(one['account'])}" if one["account"] else ""
    read = (
        f"read there afterwards by {', '.join(code(reader['session']) for reader in new[:ROWS])}"
        if new
        else "no read there by anybody new is in these logs"
    )
    more = f" and {len(new) - ROWS} more" if len(new) > ROWS else ""
    copies = f"{one['copies']:,} {'copy' if one['copies'] == 1 else 'copies'}"
    return f"- {copies} into {code(one['bucket'])}{account}: {read}{more}."


def show(loss: Json, console: Console) -> None:
    """The answer on a terminal."""
    console.print(
        Text(f"{headline(loss)}, {loss['loss']['first'] or '-'} to {loss['loss']['last'] or '-'}", style="bold")
    )
    put(_people(loss["people"][:ROWS]), len(loss["people"]), console)
    put(_table("owner", loss["owners"]["shown"][:ROWS]), loss["owners"]["count"] or 0, console)
    put(_table("bucket", loss["buckets"][:ROWS]), loss["buckets_count"], console)
    if told := [*_beside(loss)]:
        console.print("", *map(Text, told), sep="\n")
    console.print("\nWhat these logs cannot show:")
    for text in loss["cannot_show"]:
        console.print(Text(f"- {printable(text, 500)}", style="dim"))


def _beside(loss: Json) -> Iterator[str]:
    """Copies, and who was met beside whom it is about."""
    yield from (_copies(one).removeprefix("- ") for one in loss["copied_to"][:ROWS])
    for one in loss["followed"]["callers"][:ROWS]:
        told = "followed" if one["followed"] else "not followed"
        yield f"begun by {printable(one['caller'], 200)} ({told}; it began {one['others_begun']:,} others then)"
    for one in loss["followed"]["addresses"][:ROWS]:
        if one["others"]:
            told = "followed" if one["followed"] else "not followed"
            yield f"{one['others']:,} others at {printable(one['address'], 60)} then: {told}"


def _people(rows: list[Json]) -> Table:
    table = grid("because", "session", ">objects", ">bytes", ">refused", ">last")
    for row in rows:
        figures = (f"{row['objects']:,}", size(row["bytes"]), f"{row['refused']:,}", row["last"])
        table.add_row(row["because"], cell(short(row["session"] or "-")), *figures)
    return table


def _table(name: str, rows: list[Json]) -> Table:
    table = grid(name, ">objects", ">bytes", ">first", ">last")
    for row in rows:
        figures = (f"{row['objects']:,}", size(row["bytes"]), row["first"], row["last"])
        table.add_row(cell("-" if row[name] is None else row[name]), *figures)
    return table
