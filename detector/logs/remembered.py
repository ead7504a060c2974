"""Fingerprints of identities by a hash of what a log says of them, so that none has to be read twice. Pure."""

from __future__ import annotations

import numpy as np

from detector.core.access import U64
from detector.core.table import Table

MOST = 1 << 18
"""Identities that are remembered; one more, and all are forgotten."""
MARK = np.uint64(1)
"""To be set in every hash, so that none is 0."""


class Fingerprints:
    """Hash → fingerprint. The hashes are keyed: nobody can make two texts that are alike."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._table = Table()

    def of(self, hashes: U64) -> U64:
        """The fingerprint of each; 0 for those that are not remembered."""
        return self._table.values_of(hashes)

    def remember(self, hashes: U64, prints: U64) -> None:
        """Take note of fingerprints; no two of these hashes are alike."""
        if len(self._table) + len(hashes) > self._most:
            self._table = Table()
        self._table.put(hashes, prints)
