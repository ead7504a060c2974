"""A Bloom filter of 64-bit hashes: says of nearly all new ids at once that they are new. Pure.

Each id sets four bits of one word, so a look costs one place in memory. Words lie in the order of the ids' highest
bits: ids in order are put in fast, and a range of ids can be cleared and put in again.
"""

from __future__ import annotations

import numpy as np

from detector.core.access import U64, Mask
from detector.core.table import SPREAD

FULL = 5
"""Ids a word, on average, from which on too many new ids look like known ones (about one in a hundred)."""
SMALL = 1 << 6
"""Ids up to which sorting them and putting them together word by word is not worth the while."""
_BIT = np.uint64(1) << np.arange(64, dtype=np.uint64)
_TWO_BITS: U64 = (_BIT[:, None] | _BIT).ravel()
"""Twelve bits of a hash → two bits of a word."""


class Bloom:
    """`words`: a power of two."""

    def __init__(self, words: int) -> None:
        self._words = np.zeros(words, np.uint64)
        self._shift = np.uint64(65 - words.bit_length())
        self.added = 0

    def __len__(self) -> int:
        return len(self._words)

    @property
    def nbytes(self) -> int:
        """Bytes it holds."""
        return self._words.nbytes

    @property
    def full(self) -> bool:
        """Whether a larger one would be better."""
        return self.added > FULL * len(self._words)

    def add(self, ids: U64) -> None:
        """Put in these ids, which are sorted."""
        if len(ids) <= SMALL:
            np.bitwise_or.at(self._words, (ids >> self._shift).astype(np.intp), bits(ids))
            self.added += len(ids)
            return
        word = (ids >> self._shift).astype(np.intp)
        starts = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
        self._words[word[starts]] |= np.bitwise_or.reduceat(bits(ids), starts)
        self.added += len(ids)

    def may_hold(self, ids: U64, wanted: U64 | None = None) -> Mask:
        """Which of these ids may be in it; all others are not. Fast where they are sorted. wanted: their `bits`."""
        wanted = bits(ids) if wanted is None else wanted
        seen: Mask = self._words[(ids >> self._shift).astype(np.intp)] & wanted == wanted
        return seen

    def snapshot(self) -> tuple[int, bytes]:
        """Plain data for a checkpoint."""
        return self.added, self._words.tobytes()

    @classmethod
    def restore(cls, state: tuple[int, bytes]) -> Bloom:
        """The filter a snapshot describes."""
        bloom = cls(len(state[1]) // 8)
        bloom.added, bloom._words = state[0], np.frombuffer(state[1], np.uint64).copy()
        return bloom

    def clear(self, first: int, last: int) -> None:
        """Empty it of the ids from `first` to `last`: bounds of whole words."""
        self._words[first >> int(self._shift) : (last >> int(self._shift)) + 1] = 0


def bits(ids: U64) -> U64:
    """The bits each id sets in its word, whatever the size of the filter."""
    mixed = ids * SPREAD
    set_: U64 = _TWO_BITS[mixed >> np.uint64(52)] | _TWO_BITS[mixed >> np.uint64(40) & np.uint64(0xFFF)]
    return set_
