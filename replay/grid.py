"""Tables for a terminal. Texts from logs are escaped: no markup, no control characters."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from detector.response.plain import printable


def grid(*heads: str) -> Table:
    """A table with these columns. Where a head begins with `>`, they are figures: to the right, and never cut."""
    table = Table(box=None, pad_edge=False)
    for head in heads:
        figures = head.startswith(">")
        table.add_column(head.lstrip(">"), justify="right" if figures else "left", overflow="fold", no_wrap=figures)
    return table


def put(table: Table, count: int, console: Console) -> None:
    """Print a table that has rows after a line, and how many of `count` it does not show."""
    if table.row_count:
        console.print()
        console.print(table)
    if count > table.row_count:
        console.print(Text(f"… and {count - table.row_count:,} more", "dim"))


def cell(value: Any) -> Text:
    """Anybody's text."""
    return Text(printable(value, 300))


def short(text: str) -> str:
    """An ARN without what all ARNs of its kind have; the account stays."""
    return re.sub(r"\barn:aws[a-z-]*:(?:iam|sts)::", "", text)
