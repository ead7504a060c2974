"""Identities that this process has met, by number, so that none has to be read or named twice. Pure.

What a log says of an identity is told by its hash. The hashes are keyed: nobody can make two texts that are alike.
"""

from __future__ import annotations

import numpy as np

from detector.core.access import I64, U64, Mask
from detector.core.table import Table

MOST = 1 << 18
"""Identities that are remembered; one more, and all are forgotten by the next batch."""
MARK = np.uint64(1)
"""To be set in every hash, so that none is 0."""


class Met:
    """Hash of what a log says → number; number → fingerprint."""

    def __init__(self) -> None:
        self._numbers = Table()
        self._prints = np.zeros(1 << 9, np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def told(self, hashes: U64) -> I64:
        """Of what logs say twice the number, plus one where an ARN is named; -1 if it was not met."""
        return self._numbers.values_of(hashes).astype(np.int64) - 1

    def meet(self, hashes: U64, prints: U64, arns: Mask) -> I64:
        """The same of what is new, no two of it alike. prints: 0 for nobody, who has no number."""
        told = np.full(len(hashes), -1, np.int64)
        somebody = np.flatnonzero(prints)
        first, self._count = self._count, self._count + len(somebody)
        if self._count > len(self._prints):
            self._prints = np.append(self._prints, np.zeros(self._count, np.uint64))
        self._prints[first : self._count] = prints[somebody]
        told[somebody] = np.arange(first, self._count) << 1 | arns[somebody]
        self._numbers.put(hashes[somebody], (told[somebody] + 1).astype(np.uint64))
        return told

    def prints(self, numbers: I64) -> U64:
        """The fingerprints that have these numbers."""
        return self._prints[numbers]


_met = Met()


def met() -> Met:
    """Whom this process has met. To be asked for when a batch begins: its numbers hold for as long as it is made."""
    global _met  # noqa: PLW0603  what is remembered changes no result
    if len(_met) > MOST:
        _met = Met()
    return _met
