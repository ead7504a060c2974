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

import msgspec
import numpy as np

from detector.core.access import U64, Index, Mask
from detector.core.bloom import FULL, SMALL, Bloom, bits
from detector.core.window import by_value, starts_of_runs
from detector.model.facts import NONE, Facts

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
        self.nbytes = 0
        """Bytes of all Bloom filters."""
        self._counts = np.zeros(256, np.int64)
        self._large = np.zeros(256, np.bool_)
        self._blooms: dict[int, list[Bloom]] = {}
        self._changed: set[tuple[int, int]] = set()

    def known(self, pairs: U64, slots: Index) -> Mask:
        """Which of these pairs were put in (a few more may look so)."""
        known: Mask = self.exact.get(pairs) != NONE
        self._reserve(int(slots.max(initial=0)))
        large = np.flatnonzero(~known & self._large[slots])
        asked, wanted = pairs[large], bits(pairs[large])
        for slot, some in by_value(slots[large]):
            rows, ids, set_ = large[some], asked[some], wanted[some]
            for bloom in self._blooms[slot]:
                known[rows] |= bloom.may_hold(ids, set_)
        return known

    def saturated(self, slots: Index) -> Mask:
        """Roles of which no more keys can be remembered."""
        return np.array([self._is_full(slot) for slot in slots.tolist()], np.bool_)

    def put(self, pairs: U64, slots: Index) -> None:
        """Put in new pairs, in the order in which they came."""
        if not len(pairs):
            return
        self._reserve(int(slots.max()))
        order = np.argsort(slots, kind="stable")
        pairs, slots = pairs[order], slots[order]
        starts = starts_of_runs(slots)
        ends = np.append(starts[1:], len(slots))
        counts = ends - starts
        place = self._counts[slots] + np.arange(len(slots)) - np.repeat(starts, counts)
        exact = place < EXACT
        self.exact.put(pairs[exact], slots[exact])
        for at in np.flatnonzero(~exact[ends - 1]).tolist():
            mine = slice(starts[at], ends[at])
            self._put_more(int(slots[starts[at]]), pairs[mine][~exact[mine]])
        self._counts[slots[starts]] += counts

    def _put_more(self, slot: int, pairs: U64) -> None:
        layers = self._blooms.setdefault(slot, [])
        while len(pairs):
            if not layers or layers[-1].full:
                if self._is_full(slot):
                    return
                layers.append(Bloom(FIRST_LAYER << len(layers)))
                self.nbytes += layers[-1].nbytes
                self._large[slot] = True
            bloom = layers[-1]
            room = FULL * len(bloom) + 1 - bloom.added
            some, pairs = pairs[:room], pairs[room:]
            bloom.add(some if len(some) <= SMALL else np.sort(some))
            self._changed.add((slot, len(layers) - 1))

    def _is_full(self, slot: int) -> bool:
        layers = self._blooms.get(slot, [])
        return bool(layers and layers[-1].full and len(layers) >= self.most)

    def wanted(self) -> list[int]:
        """How many roles want 0, 1, 2, … filters: those they have, and one more where the last is full."""
        wanted = [min(len(layers) + layers[-1].full, LAYERS) for layers in self._blooms.values()]
        return [wanted.count(many) for many in range(LAYERS + 1)]

    def allow(self, wanted: Sequence[int]) -> None:
        """Midnight: what the roles of all shards want decides how many filters each may have."""
        fitting = (most for most in range(LAYERS, 1, -1) if _nbytes(wanted, most) <= self.room)
        self.most = next(fitting, 1)
        for slot, layers in self._blooms.items():
            for number in range(self.most, len(layers)):
                self.nbytes -= layers[number].nbytes
                self._changed.add((slot, number))
            del layers[self.most :]

    def _reserve(self, slot: int) -> None:
        if slot >= len(self._counts):
            more = max(slot + 1, 2 * len(self._counts)) - len(self._counts)
            self._counts = np.append(self._counts, np.zeros(more, np.int64))
            self._large = np.append(self._large, np.zeros(more, np.bool_))

    def forget(self, slots: set[int]) -> None:
        """Let go of the keys of these roles."""
        gone = np.fromiter(slots, np.uint32, len(slots))
        self.exact.keep(lambda run: ~np.isin(run[1], gone))
        for slot in slots:
            layers = self._blooms.pop(slot, [])
            self.nbytes -= sum(bloom.nbytes for bloom in layers)
            self._changed.update((slot, layer) for layer in range(len(layers)))
            if slot < len(self._counts):
                self._counts[slot], self._large[slot] = 0, False

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        out = self.exact.runs.changes()
        for slot, layer in sorted(self._changed):
            layers = self._blooms.get(slot, [])
            packed = msgspec.msgpack.encode(layers[layer].snapshot()) if layer < len(layers) else None
            out[self._part(slot, layer)] = packed
        self._changed.clear()
        return out

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        layers = {self._part(slot, layer) for slot, held in self._blooms.items() for layer in range(len(held))}
        return self.exact.runs.names() | layers

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self.exact.restore(parts)
        self._count(self.exact.all()[1].astype(np.intp))
        found: dict[int, dict[int, Bloom]] = {}
        for name, part in parts.items():
            if name.startswith(f"model-bloom/{self.name}/"):
                slot, layer = map(int, name.split("/")[-2:])
                found.setdefault(slot, {})[layer] = Bloom.restore(msgspec.msgpack.decode(part))
        for slot, layers in found.items():
            self._blooms[slot] = [layers[number] for number in sorted(layers)]
            self.nbytes += sum(bloom.nbytes for bloom in layers.values())
            self._count(np.repeat(np.intp(slot), sum(bloom.added for bloom in layers.values())))
            self._large[slot] = True

    def _part(self, slot: int, layer: int) -> str:
        return f"model-bloom/{self.name}/{slot}/{layer}"

    def _count(self, slots: Index) -> None:
        self._reserve(int(slots.max(initial=0)))
        self._counts += np.bincount(slots, minlength=len(self._counts))


def _nbytes(wanted: Sequence[int], most: int) -> int:
    """Bytes of the filters of roles of which so many want 0, 1, 2, … of them, and get `most` at most."""
    return sum(many * 8 * FIRST_LAYER * ((1 << min(number, most)) - 1) for number, many in enumerate(wanted))
