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
from typing import TYPE_CHECKING, Any

from detector.response.plain import printable

if TYPE_CHECKING:
    import pyarrow as pa

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


def sheet_rows(table: pa.Table) -> str:
    """As `sheet` has the rows of a table, without its head line: each text that there is is made a cell once."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(zip(*map(_cells, table.columns), strict=True))
    return out.getvalue()


def _cells(column: pa.ChunkedArray[Any]) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(column.type):
        texts: Any = pc.binary_join(column, " ")
    elif pa.types.is_string(column.type):
        texts = column
    else:
        return [*map(cell, column.to_pylist())]
    whole = texts.combine_chunks().dictionary_encode()
    cells = [*map(cell, whole.dictionary.to_pylist()), None]  # the last is null's
    return [cells[code] for code in whole.indices.fill_null(-1).to_numpy().tolist()]


def cell(value: Any) -> Any:
    """A value as it may stand in a cell."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    text = printable(value, LONGEST)
    begins = str(value).lstrip()[:1]
    return f"'{text}" if begins and begins in FORMULA else text
