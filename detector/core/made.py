"""What is made of principals, worked out once for each and not once a batch. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from detector.core.access import U64, AccessBatch, Index, present
from detector.core.principal import Principal
from detector.core.table import Table

REMEMBERED = 1 << 18
"""Principals of whom it is remembered at most."""


T = TypeVar("T")


def one_by_one(make: Callable[[T], int]) -> Callable[[Sequence[T]], U64]:
    """Numbers of many, each made by itself."""
    return lambda some: np.fromiter(map(make, some), np.uint64, len(some))


class Made(Generic[T]):
    """A number for every one, remembered by fingerprint. nobody: the number of rows without a principal."""

    def __init__(self, make: Callable[[Sequence[T]], U64], nobody: int = 0) -> None:
        self._make, self._nobody = make, nobody
        self._table = Table()

    def of(self, prints: U64, some: Callable[[Index], Sequence[T]]) -> U64:
        """Their numbers by their fingerprints, no two of them alike. some: those at these indices."""
        slot = self._table.find(prints)
        found = self._table.values[slot]
        new = np.flatnonzero(slot < 0)
        if len(new):
            found[new] = self._make(some(new))
            if len(self._table) + len(new) > REMEMBERED:
                self._table = Table()
            self._table.put(prints[new], found[new])
        return found

    def by_code(self: Made[Principal], batch: AccessBatch, rows: Index) -> U64:
        """By code, the number of every principal that these rows have; the last is nobody's, whose code is -1."""
        count = len(batch.principals)
        codes = present(batch.who[rows], count) if count > len(rows) else np.arange(count)
        numbers = np.full(count + 1, self._nobody, np.uint64)
        numbers[codes] = self.of(batch.prints[codes], lambda at: batch.principals.each(codes[at].tolist()))
        return numbers
