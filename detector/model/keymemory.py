"""Which keys each role has read: some exact, then filters that grow up to a bound. Pure.

A role's first `EXACT` keys are remembered as 64-bit hashes, further ones in Bloom filters of about 13 bits a key that
double in size, up to `LAYERS`. Then the role is saturated: no key of it is remembered any more. Every step may take a
new key for a known one, and never the other way.

How many filters a role may have is decided at a UTC midnight, alike for all: as many as they can have side by side
within the memory the rule gives them, if each keeps those it has and gets one more where its last is full. What is
above is let go of. So a role's keys never depend on what others read that day, and peer groups can be held apart; what
is held may be more than `room` by what was read since midnight for the first time, and by each role's first filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.window import starts_of_runs, steady_order
from detector.model.facts import NONE, Facts
from detector.model.filters import Filters
from detector.model.slots import grown

EXACT = 1024
FIRST_LAYER = 1 << 10
"""Words of a role's first Bloom filter."""
LAYERS = 6


class KeyMemory:
    """(role, key) pairs that were read.

    room: bytes of all Bloom filters together, of all shards. most: how many a role may have until the next midnight.
    """

    def __init__(self, name: str, room: int) -> None:
        self.name, self.room, self.most = name, room, LAYERS
        self.exact = Facts(f"model-keys/{name}")
        self._filters = Filters(FIRST_LAYER, LAYERS)
        self._counts = np.zeros(256, np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of all Bloom filters."""
        return self._filters.nbytes

    def ask(self, pairs: U64, slots: Index, elsewhere: Mask, pane: I64) -> Mask:
        """Which of these pairs are new; nothing is learned, and all are asked against what was there before `pane`.

        elsewhere: which lie in a place that is new to their role.
        """
        del pane
        self._reserve(int(slots.max(initial=0)))
        new: Mask = self.exact.get(pairs) == NONE
        new[new] = self._new(pairs[new], slots[new], elsewhere[new])
        return new

    def meet(self, pairs: U64, slots: Index, elsewhere: Mask, pane: I64) -> Mask:
        """Which of these pairs, no two alike and by time, are new; they are known to the panes after their own."""
        self._reserve(int(slots.max(initial=0)))
        new: Mask = self.exact.get(pairs) == NONE
        asked = np.flatnonzero(new)
        exact = np.zeros(len(pairs), np.bool_)
        for first, end in pairwise([*starts_of_runs(pane[asked]).tolist(), len(asked)]):
            some = asked[first:end]
            new[some] = mine = self._new(pairs[some], slots[some], elsewhere[some])
            met = some[mine]
            exact[met] = self._put(pairs[met], slots[met])
        self.exact.put(pairs[exact], slots[exact])
        return new

    def saturated(self, slots: Index) -> Mask:
        """Roles of which no more keys can be remembered."""
        return self._filters.full(slots, self.most)

    def _new(self, pairs: U64, slots: Index, elsewhere: Mask) -> Mask:
        """Which of these pairs, none of which is among the exact ones, are new."""
        if not self._filters.nbytes:
            return np.ones(len(pairs), np.bool_)
        return ~self._filters.may_hold(pairs, slots) & (elsewhere | ~self.saturated(slots))

    def _put(self, pairs: U64, slots: Index) -> Mask:
        """Count new pairs, which come by time, and put those past a role's exact ones into filters; which are exact."""
        order = steady_order(slots)
        by_slot = slots[order]
        many = np.bincount(slots, minlength=len(self._counts))
        before = self._counts - (np.cumsum(many) - many)
        past = before[by_slot] + np.arange(len(slots)) >= EXACT
        self._counts += many
        exact = np.ones(len(slots), np.bool_)
        if past.any():
            exact[order[past]] = False
            self._filters.put(pairs[order[past]], by_slot[past], self.most)
        return exact

    def wanted(self) -> list[int]:
        """How many roles want 0, 1, 2, … filters: those they have, and one more where the last is full."""
        return self._filters.wanted()

    def allow(self, wanted: Sequence[int]) -> None:
        """Midnight: what the roles of all shards want decides how many filters each may have."""
        fitting = (most for most in range(LAYERS, 1, -1) if _nbytes(wanted, most) <= self.room)
        self.most = next(fitting, 1)
        self._filters.keep(self.most)

    def _reserve(self, slot: int) -> None:
        self._counts = grown(self._counts, slot)
        self._filters.reserve(slot)

    def forget(self, slots: set[int]) -> None:
        """Let go of the keys of these roles."""
        gone = np.fromiter(slots, np.uint32, len(slots))
        self.exact.keep(lambda run: ~np.isin(run[1], gone))
        self._filters.keep(0, sorted(slots))
        self._counts[gone[gone < len(self._counts)]] = 0

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        filters = {self._part(slot, layer): packed for slot, layer, packed in self._filters.changes()}
        return self.exact.runs.changes() | filters

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        return self.exact.runs.names() | {self._part(slot, layer) for slot, layer in self._filters.names()}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint. `StateError` when a filter is damaged."""
        self.exact.restore(parts)
        self._count(self.exact.all()[1].astype(np.intp))
        filters = []
        for name, part in parts.items():
            if name.startswith(f"model-bloom/{self.name}/"):
                slot, layer = map(int, name.split("/")[-2:])
                filters.append((slot, layer, part))
        for slot, many in self._filters.restore(sorted(filters)):
            self._reserve(slot)
            self._counts[slot] += many

    def _part(self, slot: int, layer: int) -> str:
        return f"model-bloom/{self.name}/{slot}/{layer}"

    def _count(self, slots: Index) -> None:
        self._reserve(int(slots.max(initial=0)))
        self._counts += np.bincount(slots, minlength=len(self._counts))


def _nbytes(wanted: Sequence[int], most: int) -> int:
    """Bytes of the filters of roles of which so many want 0, 1, 2, … of them, and get `most` at most."""
    return sum(many * 8 * FIRST_LAYER * ((1 << min(number, most)) - 1) for number, many in enumerate(wanted))
