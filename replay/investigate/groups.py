"""Row groups of kept access records, whose columns are read when somebody looks at them.

Rules of this file
- Who looks for somebody knows which row groups he is in (`replay.cache.indexed`), and reads no others.
- Who looks for a few texts asks a row group's statistics first (`may_hold`), then its dictionary of one column; nearly
  all row groups are passed over, and only of the others more columns are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from detector.core.access import Index
from replay.cache.indexed import Indexed
from replay.columns import Piece, filled, in_threads, taken

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

T = TypeVar("T")
FEW = 64
"""Texts up to which statistics are asked: of many, one is within nearly any bounds."""


class Group(Piece):
    """One row group."""

    def __init__(self, file: parquet.ParquetFile, number: int, places: Mapping[str, int]) -> None:
        self._file, self._number, self._places = file, number, places
        self._told = file.metadata.row_group(number)
        self._encoded, self._texts, self._seconds = {}, {}, {}

    def __len__(self) -> int:
        return int(self._told.num_rows)

    def rows(self, rows: Index, columns: Sequence[str] | None = None) -> pa.Table:
        """These rows, with these columns or all. A column in which nothing is is not read."""
        import pyarrow as pa

        schema = self._file.schema_arrow
        names = [name for name in columns or self._places if name in self._places]
        some = taken(self._read([name for name in names if self._holds(name)]), rows)
        every: dict[str, Any] = {name: pa.nulls(len(rows), schema.field(name).type) for name in names}
        return pa.table(every | dict(zip(some.column_names, some.columns, strict=True)))

    def may_hold(self, name: str, texts: Collection[str]) -> bool:
        """Whether one of these texts may be in a column, as far as its statistics say."""
        if name not in self._places:
            return False
        told = self._told.column(self._places[name]).statistics
        if told is None:
            return True
        if not told.has_min_max:  # nothing is in it, or a text too long for statistics
            return told.num_values > 0
        least, most = str(told.min), str(told.max)
        return len(texts) > FEW or any(least <= text <= most for text in texts)

    def _column(self, name: str) -> Any:
        return self._read([name])[name] if name in self._places and self._holds(name) else None

    def _read(self, names: list[str]) -> pa.Table:
        return self._file.read_row_group(self._number, names, use_threads=False)

    def _holds(self, name: str) -> bool:
        return filled(self._told.column(self._places[name]))


def over_groups(parts: Sequence[Indexed], look: Callable[[Group], T]) -> Iterator[list[T]]:
    """What `look` makes of each row group of each part, in order; the parts on several threads."""
    return in_threads(parts, lambda part: [look(group) for group in groups(part)])


def groups(part: Indexed, numbers: Iterable[int] | None = None) -> Iterator[Group]:
    """Row groups of a part, one after the other: these, or all."""
    from pyarrow import parquet

    with parquet.ParquetFile(part.records) as file:
        places = {name: at for at, name in enumerate(file.schema_arrow.names)}
        for number in range(file.num_row_groups) if numbers is None else numbers:
            yield Group(file, number, places)
