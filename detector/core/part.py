"""A run of rows, in memory or on a shelf, and how it lies there as bytes. Pure: the shelf does the reading.

A run is a tuple of equally long arrays, sorted by the first. As bytes it is a line with the types of its columns, then
each column's content. Of a run on the shelf memory keeps a fence, one key of every `BLOCK` rows, so that looking for a
key reads the one block it may be in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from detector.core.access import U64, Index

Run = tuple[npt.NDArray[Any], ...]

MEMORY = 256 << 20
"""Bytes of tallies, bounds, ids and credentials that are held in memory."""
BLOCK = 512
OVERHEAD = 400
"""Bytes of a part beside its arrays, about."""


class Shelf(Protocol):
    """Holds the last checkpoint: what lies there, memory may let go."""

    def get(self, name: str, first: int, end: int) -> bytes:
        """Bytes `first` to `end` (not included) of a part of the last checkpoint. Raises BucketwatchError."""


class Spilling(Protocol):
    """State of which memory holds as much as there is room for."""

    def lean_on(self, shelf: Shelf, room: int) -> None:
        """From now on what is in a checkpoint may leave memory. `room`: bytes taken in at most when restoring."""

    def held(self) -> int:
        """Bytes in memory."""

    def tidy(self, most: int) -> None:
        """Before a checkpoint, after which no more than so many bytes shall be held."""

    def changes(self) -> dict[str, bytes | None]:
        """Checkpoint parts that came or went since the last call."""

    def leaving(self, most: int) -> dict[str, bytes | None]:
        """Of `changes` what has to be written, and deleted, for `let_go` to hold no more than so many bytes."""

    def let_go(self, most: int) -> None:
        """Right after a checkpoint: hold no more than so many bytes, if what is in it can be spared."""


def encode(run: Run) -> bytes:
    """A run as bytes."""
    return b"".join((_head(run), *(column.tobytes() for column in run)))


def decode(data: bytes) -> Run:
    """The run that `encode` wrote."""
    at = data.index(b"\n") + 1
    types = [np.dtype(name) for name in data[:at].decode().split()]
    rows = (len(data) - at) // sum(dtype.itemsize for dtype in types)
    columns = []
    for dtype in types:
        columns.append(np.frombuffer(data, dtype, rows, at))
        at += rows * dtype.itemsize
    return tuple(columns)


def _head(run: Run) -> bytes:
    return " ".join(column.dtype.str for column in run).encode() + b"\n"


class Part:
    """A run and the name it has in a checkpoint. nbytes: what it holds in memory."""

    __slots__ = ("_fence", "_places", "_rows", "_run", "_shelf", "name", "nbytes")

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self._run: Run | None = run
        self._rows = len(run[0])
        self.nbytes = OVERHEAD + sum(column.nbytes for column in run)
        self._shelf: Shelf | None = None
        self._fence: U64 = np.zeros(0, np.uint64)
        self._places: list[tuple[int, np.dtype[Any]]] = []

    def __len__(self) -> int:
        return self._rows

    @property
    def cold(self) -> bool:
        """Whether its rows are on the shelf only."""
        return self._run is None

    def leave(self, shelf: Shelf) -> None:
        """Let go of the rows: they are on the shelf."""
        if self._run is None:
            return
        at = len(_head(self._run))
        for column in self._run:
            self._places.append((at, column.dtype))
            at += column.nbytes
        self._fence = self._run[0][::BLOCK].copy()
        self.nbytes = OVERHEAD + self._fence.nbytes
        self._shelf, self._run = shelf, None

    def whole(self) -> Run:
        """All its rows."""
        return self._rows_of(0, self._rows)

    def keys(self) -> U64:
        """Its first column."""
        return self._column(0, 0, self._rows)

    def span(self, first: int, last: int) -> Run:
        """The rows whose first column is in `first` to `last`, both included."""
        low, high = 0, self._rows
        if self._run is None:
            low = max(int(np.searchsorted(self._fence, np.uint64(first))) - 1, 0) * BLOCK
            high = min(int(np.searchsorted(self._fence, np.uint64(last), "right")) * BLOCK, self._rows)
        keys = self._column(0, low, high)
        start = int(np.searchsorted(keys, np.uint64(first)))
        end = int(np.searchsorted(keys, np.uint64(last), "right"))
        return (keys[start:end], *self._rows_of(low + start, low + end, 1))

    def all_of(self, keys: U64) -> tuple[Index, Run]:
        """The rows of these sorted keys: which key each is of, and its other columns."""
        there, *columns = self.span(int(keys[0]), int(keys[-1]))
        low = np.searchsorted(there, keys)
        many = np.searchsorted(there, keys, "right") - low
        rows = np.repeat(low - np.cumsum(many) + many, many) + np.arange(many.sum())
        return np.repeat(np.arange(len(keys)), many), tuple(column[rows] for column in columns)

    def find(self, keys: U64) -> Iterator[tuple[Index, Run]]:
        """Which of these sorted keys are in the first column, and the other columns of their rows (one each)."""
        if self._run is not None:
            yield self._find(keys, np.arange(len(keys)), 0, self._rows)
            return
        block = np.searchsorted(self._fence, keys, "right") - 1
        inside = np.flatnonzero(block >= 0)
        for some in np.split(inside, np.flatnonzero(np.diff(block[inside]) > 1) + 1):
            if len(some):
                end = min(int(block[some[-1]] + 1) * BLOCK, self._rows)
                yield self._find(keys, some, int(block[some[0]]) * BLOCK, end)

    def _find(self, keys: U64, asked: Index, low: int, high: int) -> tuple[Index, Run]:
        """Look for some of the keys in rows `low` to `high`."""
        there = self._column(0, low, high)
        at = np.minimum(np.searchsorted(there, keys[asked]), len(there) - 1)
        hit = np.flatnonzero(there[at] == keys[asked])
        if not len(hit):
            return hit, self._rows_of(low, low, 1)
        at = at[hit]
        first, last = int(at[0]), int(at[-1])
        return asked[hit], tuple(column[at - first] for column in self._rows_of(low + first, low + last + 1, 1))

    def _rows_of(self, low: int, high: int, after: int = 0) -> Run:
        """Rows `low` to `high` of the columns from number `after` on."""
        columns = len(self._run) if self._run is not None else len(self._places)
        return tuple(self._column(number, low, high) for number in range(after, columns))

    def _column(self, number: int, low: int, high: int) -> npt.NDArray[Any]:
        if self._run is not None:
            return self._run[number][low:high]
        at, dtype = self._places[number]
        if high <= low or self._shelf is None:
            return np.zeros(0, dtype)
        return np.frombuffer(self._shelf.get(self.name, at + low * dtype.itemsize, at + high * dtype.itemsize), dtype)
