"""Sums by key: of rows of a piece, and of all pieces. No I/O."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from detector.core.access import I32, I64
from replay.columns import pair

K = TypeVar("K", bound=Hashable)
LATEST = np.iinfo(np.int64).max


@dataclass(slots=True)
class Sums:
    """By row of a table: requests, bytes, the first and the last event time."""

    requests: I64
    bytes: I64
    first: I64
    last: I64

    @classmethod
    def by(cls, codes: I32, count: int, time: I64, size: I64 | None = None) -> Sums:
        """Of rows with these codes."""
        made = cls.none(count)
        made.requests += np.bincount(codes, minlength=count)
        if size is not None:
            np.add.at(made.bytes, codes, size)
        np.minimum.at(made.first, codes, time)
        np.maximum.at(made.last, codes, time)
        return made

    @classmethod
    def none(cls, count: int) -> Sums:
        """Of nothing."""
        return cls(*(np.full(count, value, np.int64) for value in (0, 0, LATEST, -1)))

    def add(self, rows: list[int], other: Sums) -> None:
        """Add another's rows to these."""
        np.add.at(self.requests, rows, other.requests)
        np.add.at(self.bytes, rows, other.bytes)
        np.minimum.at(self.first, rows, other.first)
        np.maximum.at(self.last, rows, other.last)


class Table(Generic[K]):
    """Keys, and the sums of each."""

    def __init__(self) -> None:
        self.keys: list[K] = []
        self._at: dict[K, int] = {}
        self._parts: list[tuple[list[int], Sums]] = []

    def add(self, keys: Iterable[K], sums: Sums) -> list[int]:
        """Add the sums of these keys; their rows."""
        rows = self.rows(keys)
        self._parts.append((rows, sums))
        return rows

    def rows(self, keys: Iterable[K]) -> list[int]:
        """The rows of these keys, new ones among them."""
        at = self._at
        rows = [at.setdefault(key, len(at)) for key in keys]
        self.keys += list(at)[len(self.keys) :] if len(at) > len(self.keys) else []
        return rows

    def sums(self) -> Sums:
        """Of every row."""
        whole = Sums.none(len(self.keys))
        for rows, sums in self._parts:
            whole.add(rows, sums)
        self._parts = [([*range(len(self.keys))], whole)]
        return whole

    def items(self) -> Iterator[tuple[K, int, int, int, int]]:
        """Key, requests, bytes, first, last."""
        sums = self.sums()
        columns = (sums.requests, sums.bytes, sums.first, sums.last)
        yield from zip(self.keys, *(column.tolist() for column in columns), strict=True)


Side = tuple[list[Any], Sums]
"""Keys of a table within a piece, local identity first, and their sums."""


def side(who: I32, codes: I32, values: Sequence[Any], time: I64, size: I64 | None = None) -> Side:
    """By identity and value, of rows with these codes of them; a value is None where the code is -1."""
    every = [None, *values]
    codes, pairs = pair(who, codes + np.int32(1), len(every))
    keys = [(one // len(every), every[one % len(every)]) for one in pairs.tolist()]
    return keys, Sums.by(codes, len(keys), time, size)
