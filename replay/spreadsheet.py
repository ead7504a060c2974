"""CSV that a spreadsheet may open: the one place where it is written.

Rules of this file
- Names in a log are chosen by whoever made the requests. A spreadsheet takes a cell that begins like a formula for
  one, whatever quotes stand around it: such a text gets an apostrophe before it. Numbers are never touched.
- A text is one line: what does not show as itself is escaped (`plain.printable`). For programs there is Parquet.

Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detector.response.plain import printable

FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""What formulas begin with; the wide forms too, which some programs take for the narrow ones."""
LONGEST = 32_000
"""Characters of a cell: more than Excel takes would run on into another row there."""


def sheet(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a head line. Lists become texts with a space between."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return out.getvalue()


def cell(value: Any) -> Any:
    """A value as it may stand in a cell."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    text = printable(value, LONGEST)
    begins = str(value).lstrip()[:1]
    return f"'{text}" if begins and begins in FORMULA else text
