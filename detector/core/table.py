"""A hash table of 64-bit keys and values that takes a whole batch at once. Pure.

Two arrays, open addressing, at most a quarter full. Every step looks at all keys still without a place, so that the
work in Python is that of the longest probe, not of the number of keys: so probes are worth room. No
key is 0, which marks a free slot.
"""

from __future__ import annotations

import numpy as np

from detector.core.access import U64, Index, Mask

SMALLEST = 1 << 9
SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)
"""Odd, and its multiples are spread over all 64 bits: 2^64 divided by the golden ratio."""


class Table:
    """Key → value. `values[slot]` is the value of the key at a slot; 0 until it is set."""

    def __init__(self) -> None:
        self._keys = np.zeros(SMALLEST, np.uint64)
        self.values = np.zeros(SMALLEST, np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes it holds."""
        return self._keys.nbytes + self.values.nbytes

    def find(self, keys: U64) -> Index:
        """Slot of each key, or -1."""
        slot = self._home(keys)
        there = self._keys[slot]
        found = np.where(there == keys, slot, -1)
        waiting = np.flatnonzero((found < 0) & (there != 0))
        slot = slot[waiting]
        while len(waiting):
            slot = self._next(slot)
            there = self._keys[slot]
            hit = there == keys[waiting]
            found[waiting[hit]] = slot[hit]
            go_on = ~hit & (there != 0)
            waiting, slot = waiting[go_on], slot[go_on]
        return found

    def enter(self, keys: U64) -> tuple[Index, Mask]:
        """Slot of each of these distinct keys, put in where it was not there; and which ones were not."""
        self._reserve(len(keys))
        slot = self._home(keys)
        fresh, settled = self._claim(slot, keys)
        waiting = np.flatnonzero(~settled)
        while len(waiting):
            at = slot[waiting] = self._next(slot[waiting])
            fresh[waiting], settled = self._claim(at, keys[waiting])
            waiting = waiting[~settled]
        self._count += int(np.count_nonzero(fresh))
        return slot, fresh

    def values_of(self, keys: U64) -> U64:
        """Value of each key; 0 where it is not there."""
        slot = self.find(keys)
        return np.where(slot >= 0, self.values[slot], np.uint64(0))

    def put(self, keys: U64, values: U64) -> None:
        """Give each of these distinct keys its value."""
        slot, _ = self.enter(keys)
        self.values[slot] = values

    def _claim(self, slot: Index, keys: U64) -> tuple[Mask, Mask]:
        """Put keys into the free ones of these slots: which got theirs, and which lie there now or did before.

        Of two keys for one slot the last gets it.
        """
        there = self._keys[slot]
        free = np.flatnonzero(there == 0)
        wanted = slot[free]
        self._keys[wanted] = keys[free]
        there[free] = self._keys[wanted]
        settled = there == keys
        fresh = np.zeros(len(keys), np.bool_)
        fresh[free] = settled[free]
        return fresh, settled

    def _home(self, keys: U64) -> Index:
        shift = np.uint64(65 - len(self._keys).bit_length())
        return ((keys * SPREAD) >> shift).astype(np.intp)

    def _next(self, slot: Index) -> Index:
        return (slot + 1) & (len(self._keys) - 1)

    def _reserve(self, more: int) -> None:
        """Make room, so that the table stays at most a quarter full."""
        size = len(self._keys)
        if (self._count + more) * 4 > size:
            self._resize(1 << ((self._count + more) * 4 - 1).bit_length())

    def _resize(self, size: int) -> None:
        """Move to larger arrays. Keys in the order of their homes find their places in one step, without probing."""
        held = self._keys != 0
        keys, values = self._keys[held], self.values[held]
        order = np.argsort(keys * SPREAD)
        keys, values = keys[order], values[order]
        self._keys, self.values = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        number = np.arange(len(keys))
        slot = np.maximum.accumulate(self._home(keys) - number) + number
        last = int(np.searchsorted(slot, size))  # what lies past the end goes on at the beginning, by probing
        self._keys[slot[:last]], self.values[slot[:last]] = keys[:last], values[:last]
        self._count = last
        slot, _ = self.enter(keys[last:])
        self.values[slot] = values[last:]
