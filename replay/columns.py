"""Columns of kept access records, read as codes and numbers: for questions that go over all records and keep counts.

Rules of this file
- A text is looked at once for each distinct value of a piece, never once a row; rows are only ever codes.
- A column in which nothing is, or that a file lacks, is not read: it is null.
- A column is made codes, or seconds, once: who asks again, for each of some rows even, has the same.
- Pieces are read and counted on several threads, and come in the order of the files.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from detector.core.access import I32, I64, U64, Column, Index

if TYPE_CHECKING:
    import pyarrow as pa

S = TypeVar("S")
T = TypeVar("T")
THREADS = min(4, os.cpu_count() or 1)
DAY = 86_400
DENSE = 1 << 22
"""Pairs of codes that may be told apart by a table of all there could be."""


class Piece:
    """Some records, as many as a file has. What is asked of it must have been asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._encoded: dict[str, Any] = {}
        self._texts: dict[str, Column] = {}
        self._seconds: dict[str, I64] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def text(self, name: str) -> Column:
        """A column of text."""
        if name not in self._texts:
            self._texts[name] = self._coded(name)
        return self._texts[name]

    def _coded(self, name: str) -> Column:
        whole = self._dictionary(name)
        return Column(self.codes(name), [] if whole is None else whole.dictionary.to_pylist())

    def codes(self, name: str) -> I32:
        """The codes alone of a column of text: none of its texts is made Python's."""
        whole = self._dictionary(name)
        if whole is None:
            return np.full(len(self), -1, np.int32)
        codes: I32 = (whole.indices.fill_null(-1) if whole.null_count else whole.indices).to_numpy()
        return codes

    def ranked(self, name: str) -> tuple[I32, pa.Array[Any]]:
        """The codes of a column of text over its texts in their order, and these texts."""
        import pyarrow as pa
        import pyarrow.compute as pc

        whole = self._dictionary(name)
        texts: Any = pa.array([], pa.string()) if whole is None else whole.dictionary
        order = pc.sort_indices(texts)
        place = np.full(len(texts) + 1, -1, np.int32)  # the last is null's
        place[order.to_numpy()] = np.arange(len(texts), dtype=np.int32)
        return place[self.codes(name)], texts.take(order)

    def _dictionary(self, name: str) -> Any:
        """A column of text as Arrow encodes it; None if it is null."""
        if name not in self._encoded:
            column = self._column(name)
            self._encoded[name] = None if column is None else column.combine_chunks().dictionary_encode()
        return self._encoded[name]

    def holds(self, name: str, texts: Collection[str]) -> bool:
        """Whether a row may have one of these texts: no text that is there is made Python's for that."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.may_hold(name, texts):
            return False
        whole = self._dictionary(name)
        whole_texts = [text.encode("utf-8", "replace") for text in texts]  # Arrow has no half characters
        wanted: Any = pa.array(whole_texts, pa.string())
        return whole is not None and bool(pc.any(pc.is_in(whole.dictionary, value_set=wanted)).as_py())

    def span(self) -> tuple[I64, I64]:
        """Of each row the first and the last second of what it stands for."""
        return self.seconds("time"), self.seconds("time")

    def number(self, name: str) -> I64:
        """A column of whole numbers, -1 where it is null."""
        column = self._column(name)
        if column is None:
            return np.full(len(self), -1, np.int64)
        numbers: I64 = column.fill_null(-1).to_numpy().astype(np.int64, copy=False)
        return numbers

    def seconds(self, name: str) -> I64:
        """A column of times, in epoch seconds; -1 where it is null."""
        if name not in self._seconds:
            self._seconds[name] = self._timed(name)
        return self._seconds[name]

    def _timed(self, name: str) -> I64:
        import pyarrow as pa

        column = self._column(name)
        if column is None:
            return np.full(len(self), -1, np.int64)
        whole = column.cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.int64())
        seconds: I64 = whole.fill_null(-1).to_numpy()
        return seconds

    def hashes(self, name: str) -> U64:
        """A column of hashes, 0 where it is null."""
        column = self._column(name)
        return np.zeros(len(self), np.uint64) if column is None else column.fill_null(0).to_numpy()

    def may_hold(self, name: str, texts: Collection[str]) -> bool:
        """Whether one of these texts may be in a column, as far as that is known without a look."""
        del texts
        return name in self.table.column_names

    def _column(self, name: str) -> Any:
        return self.table[name].unify_dictionaries() if name in self.table.column_names else None


def over(files: Sequence[Path], columns: Sequence[str], count: Callable[[Piece], T]) -> Iterator[T]:
    """What `count` makes of each file, with these columns of it, in order."""
    return in_threads(files, lambda file: _counted(file, columns, count))


def in_threads(every: Sequence[S], work: Callable[[S], T]) -> Iterator[T]:
    """What `work` makes of each, in order; at most one more than there are threads is held."""
    with ThreadPoolExecutor(THREADS) as threads:
        waiting: deque[Future[T]] = deque()
        for one in every:
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
            waiting.append(threads.submit(work, one))
        while waiting:
            yield waiting.popleft().result()


def _counted(file: Path, columns: Sequence[str], count: Callable[[Piece], T]) -> T:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as opened:
        metadata = opened.metadata
        wanted = [name for name in columns if _holds(metadata, name)]
        texts = [name for name in wanted if opened.schema_arrow.field(name).type in _texts()]
    with parquet.ParquetFile(file, metadata=metadata, read_dictionary=texts) as opened:
        return count(Piece(opened.read(wanted, use_threads=False)))


def _holds(metadata: Any, name: str) -> bool:
    """Whether a column is there and has a value, as far as its statistics say."""
    at = metadata.schema.names.index(name) if name in metadata.schema.names else -1
    groups = (metadata.row_group(number).column(at) for number in range(metadata.num_row_groups)) if at >= 0 else ()
    return any(map(filled, groups))


def filled(chunk: Any) -> bool:
    """Whether a value is in a row group's column, as far as its statistics say. chunk: its metadata."""
    return not chunk.is_stats_set or chunk.statistics.null_count != chunk.num_values


def _texts() -> Any:
    import pyarrow as pa

    return (pa.string(), pa.dictionary(pa.int32(), pa.string()))


def taken(table: pa.Table, rows: Index) -> pa.Table:
    """These rows of a table. The numbers are made Arrow's once, not once for each column."""
    import pyarrow as pa

    numbers: Any = pa.array(rows)
    return table.take(numbers)


def timed(table: pa.Table) -> pa.Table:
    """The same with `first` and `last` as they are told: far faster here than row by row."""
    for name in ("first", "last"):
        texts = _moments(Piece(table).seconds(name))
        table = table.set_column(table.column_names.index(name), name, texts)
    return table


def _moments(seconds: I64) -> pa.Array[Any]:
    """ISO 8601 of epoch seconds: of each day, minute and second the text is made once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days, day = np.unique(seconds // DAY, return_inverse=True)
    minute, second = np.divmod(seconds % DAY, 60)
    dates = np.datetime_as_string(days.astype("datetime64[D]")).tolist()
    parts: Any = [
        pa.array(texts, pa.string()).take(codes)
        for texts, codes in (
            ([f"{date}T" for date in dates], day),
            ([f"{at // 60:02}:{at % 60:02}:" for at in range(DAY // 60)], minute),
            ([f"{at:02}Z" for at in range(60)], second),
        )
    ]
    told: pa.Array[Any] = pc.binary_join_element_wise(*parts, "")
    return told


def bounds(codes: I32, count: int, first: I64, last: I64) -> tuple[I64, I64]:
    """Of each of so many codes the smallest first and the largest last of its rows, of which it has at least one."""
    smallest, largest = (np.full(count, worst) for worst in (np.iinfo(np.int64).max, np.iinfo(np.int64).min))
    np.minimum.at(smallest, codes, first)
    np.maximum.at(largest, codes, last)
    return smallest, largest


def pair(first: I32, second: I32, values: int) -> tuple[I32, I64]:
    """One code for each pair of codes that there is, and the pairs: first * values + second. Codes are from 0."""
    combined = first.astype(np.int64) * values + second
    most = int(combined.max(initial=-1)) + 1
    if most > max(DENSE, 8 * len(combined)):
        import pyarrow as pa

        met: Any = pa.array(combined).dictionary_encode()
        return met.indices.to_numpy(), met.dictionary.to_numpy()
    there = np.zeros(most, np.bool_)
    there[combined] = True
    pairs = np.flatnonzero(there)
    table = np.zeros(most, np.int32)
    table[pairs] = np.arange(len(pairs), dtype=np.int32)
    return table[combined], pairs


def grouped(columns: Sequence[I32]) -> tuple[I32, I64]:
    """One code for each combination of codes (from -1) that there is, and of each combination a row that has it.

    Rows that are like the one before are passed over: kept records lie in the order of who made them.
    """
    changes = np.ones(len(columns[0]), np.bool_)
    if len(changes):
        changes[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    starts = np.flatnonzero(changes)
    codes, met = np.zeros(len(starts), np.int32), np.zeros(min(len(starts), 1), np.int64)
    for column in columns:
        codes, met = pair(codes, column[starts] + np.int32(1), int(column.max(initial=-1)) + 2)
    rows = np.zeros(len(met), np.int64)
    rows[codes] = starts
    return np.repeat(codes, np.diff(np.append(starts, len(changes)))), rows


def together(columns: Sequence[Column]) -> tuple[I32, list[tuple[str | None, ...]]]:
    """One code for each combination of texts that there is, and the combinations."""
    codes, rows = grouped([column.codes for column in columns])
    return codes, list(zip(*(column.take(rows).texts() for column in columns), strict=True))
