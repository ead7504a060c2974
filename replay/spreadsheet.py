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

import numpy as np

from detector.response.plain import printable

if TYPE_CHECKING:
    import pyarrow as pa

FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""What formulas begin with; the wide forms too, which some programs take for the narrow ones."""
PLAIN = r"^ *([!-*,./-9:;<>?A-~][ -~]*)?$"
"""Texts that are cells as they are, if they are not too long: ASCII, and nothing that a formula begins with."""
BARE = r"^ *([!#-*./-9:;<>?A-~][ !#-+\-.-~]*)?$"
"""Of these the ones that need no quotes around them."""
LONGEST = 32_000
"""Characters of a cell: more than Excel takes would run on into another row there."""


def sheet(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a head line. Lists become texts with a space between."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return out.getvalue()


def sheet_rows(table: pa.Table) -> bytes:
    """As `sheet` has the rows of a table, without its head line. Only what does not stand as it is becomes Python's."""
    import pyarrow.compute as pc

    cells: list[Any] = [_cells(column.combine_chunks()) for column in table.columns]
    cells.append(pc.binary_join_element_wise(cells.pop(), "\n", "", null_handling="replace"))
    lines: Any = pc.binary_join_element_wise(*cells, ",", null_handling="replace", null_replacement="")
    _, offsets, content = lines.buffers()
    return bytes(memoryview(content)[: np.frombuffer(offsets, np.int32)[len(lines)]]) if len(lines) else b""


def _cells(column: Any) -> Any:
    """A column as it stands in the file, quotes and all."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if pa.types.is_list(column.type):
        column = pc.binary_join(column, " ")
    if not pa.types.is_string(column.type):
        column = pa.array([None if one is None else str(one) for one in column.to_pylist()], pa.string())
    whole = column.dictionary_encode()
    return _guarded(whole.dictionary).take(whole.indices)


def _guarded(texts: Any) -> Any:
    """Texts as they stand in the file: nearly all stand as they are."""
    import pyarrow.compute as pc

    other: Any = pc.invert(_fit(texts, BARE))
    if not pc.any(other).as_py():
        return texts
    return pc.replace_with_mask(texts, other, _quoted(texts.filter(other)))


def _fit(texts: Any, pattern: str) -> Any:
    """Which texts fit and are not too long."""
    import pyarrow as pa
    import pyarrow.compute as pc

    short: Any = pc.less_equal(pc.binary_length(texts), pa.scalar(LONGEST))
    return pc.and_(pc.match_substring_regex(texts, pattern), short)


def _quoted(texts: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    odd: Any = pc.invert(_fit(texts, PLAIN))
    cells = pa.array([*map(cell, texts.filter(odd).to_pylist())], pa.string())
    texts = pc.replace_with_mask(texts, odd, cells)
    needed: Any = pc.match_substring_regex(texts, '[",]')
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(needed, quoted, texts)


def cell(value: Any) -> Any:
    """A value as it may stand in a cell."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    text = printable(value, LONGEST)
    begins = str(value).lstrip()[:1]
    return f"'{text}" if begins and begins in FORMULA else text
