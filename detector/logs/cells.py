"""Columns of an Arrow table that anybody may have written, as the program holds columns. Pure.

pyarrow is slow to import and is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from detector.core.access import I8, I64, U64, Column, Mask
from detector.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_UNITS_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class Cells:
    """The columns of a table as the program holds them, each worked out when it is asked for. What it lacks is null."""

    def __init__(self, table: pa.Table, file: str, times: Collection[str]) -> None:
        self._table, self._file, self._times = table, file, times
        self._present = set(table.schema.names)
        self._texts: dict[str, Column] = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def check(self, texts: Sequence[str], wholes: Sequence[str], flags: Sequence[str]) -> None:
        """Raise InputError if a column has another type, also if nobody asks for it."""
        none = Cells(self._table.slice(0, 0), self._file, self._times)
        for names, read in ((texts, none.text), (wholes, none.whole), (flags, none.flag), (("link",), none.link)):
            for name in names:
                read(name)

    def null(self, name: str) -> Mask:
        """Which cells are null."""
        if name not in self._present:
            return np.ones(len(self), np.bool_)
        mask: Mask = self._table[name].is_null().to_numpy()
        return mask

    def text(self, name: str) -> Column:
        """A column of text."""
        if name not in self._texts:
            self._texts[name] = self._read(name, _text) if name in self._present else Column.null(len(self))
        return self._texts[name]

    def whole(self, name: str, null: int = -1) -> I64:
        """A column of whole numbers, or of times in epoch seconds, rounded down; a time without a zone is UTC."""
        if name not in self._present:
            return np.full(len(self), null, np.int64)
        return self._read(name, lambda column: _whole(column, null, timed=name in self._times))

    def flag(self, name: str) -> I8:
        """A column of yes and no: 1, 0, and -1 where it is null."""
        import pyarrow as pa

        if name not in self._present:
            return np.full(len(self), -1, np.int8)
        return self._read(name, lambda column: _filled(column.cast(pa.bool_()).cast(pa.int8()), -1))

    def link(self, name: str = "link") -> U64:
        """The links; 0 for none."""
        import pyarrow as pa

        if name not in self._present:
            return np.zeros(len(self), np.uint64)
        return self._read(name, lambda column: _filled(column.cast(pa.uint64()), 0))

    def _read(self, name: str, how: Callable[[pa.ChunkedArray[Any]], T]) -> T:
        import pyarrow as pa

        column = self._table[name]
        try:
            return how(column)
        except pa.ArrowException as error:
            raise InputError(f"column {name} has the type {column.type}: {error}", where=self._file) from error


def _filled(column: Any, null: int) -> Any:
    return column.fill_null(null).to_numpy()


def _whole(column: pa.ChunkedArray[Any], null: int, *, timed: bool) -> I64:
    import pyarrow as pa

    units = 1
    if pa.types.is_timestamp(column.type):
        units = _UNITS_A_SECOND[column.type.unit]
    elif timed and not pa.types.is_null(column.type):
        raise pa.ArrowTypeError("expected a timestamp")
    cells = _filled(column.cast(pa.int64()), 0) // units
    return np.where(column.is_null().to_numpy(), null, cells) if column.null_count else cells


def _text(column: pa.ChunkedArray[Any]) -> Column:
    """Text by way of its distinct values, unless it has a dictionary or hardly any two are alike."""
    import pyarrow as pa

    whole: Any = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    if not pa.types.is_dictionary(column.type):
        whole = whole.cast(pa.large_binary()).dictionary_encode()
    codes = whole.indices.cast(pa.int32()).fill_null(-1).to_numpy()
    values = whole.dictionary
    if values.null_count:
        held = np.append(np.where(values.is_null().to_numpy(zero_copy_only=False), -1, np.arange(len(values))), -1)
        codes = held[codes].astype(np.int32)
    return Column(codes, _decoded(values))


def _decoded(values: pa.Array[Any]) -> list[str]:
    """Parquet text is whatever bytes were written: what is no UTF-8 is replaced."""
    import pyarrow as pa

    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        try:
            return [value or "" for value in values.to_pylist()]
        except UnicodeDecodeError:
            pass
    return [(value or b"").decode("utf-8", "replace") for value in values.cast(pa.large_binary()).to_pylist()]
