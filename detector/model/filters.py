"""Bloom filters of many roles in one array: asked and filled for all roles of a pane at once. Pure.

A role's first filter is small, each further one twice as large as the one before. A new id goes into the last; when
that is full, the next one is begun. What is let go of is closed up at once, so that the array holds no gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.bloom import FULL, bits
from detector.model.codec import unusable
from detector.model.slots import grown


class Filters:
    """Filters by slot and layer. first: words of a slot's first one; layers: how many a slot may have at all."""

    def __init__(self, first: int, layers: int) -> None:
        self._layers = layers
        self._words = np.zeros(0, np.uint64)
        self._end = 0
        self._at = np.full((256, layers), -1)
        self._changed = np.zeros((256, layers), np.bool_)
        self._added = np.zeros(256, np.int64)
        self._sizes = first << np.arange(layers)
        self._ends = np.cumsum(FULL * self._sizes + 1)
        """Ids that the first 1, 2, … filters of a role hold together, at most."""
        self._shifts = np.array([65 - size.bit_length() for size in self._sizes.tolist()], np.uint64)

    @property
    def nbytes(self) -> int:
        """Bytes of all filters."""
        return 8 * self._end

    def may_hold(self, ids: U64, slots: Index) -> Mask:
        """Which of these ids may be in a filter of their slot; all others are not."""
        seen = np.zeros(len(ids), np.bool_)
        asked = np.flatnonzero(self._added[slots])
        wanted = bits(ids[asked])
        for layer in range(self._layers):
            there = self._at[slots[asked], layer] >= 0
            if not there.all():
                asked, wanted = asked[there], wanted[there]
            if not len(asked):
                break
            seen[asked] |= self._words[self._place(ids[asked], slots[asked], layer)] & wanted == wanted
        return seen

    def full(self, slots: Index, most: int) -> Mask:
        """Which of these slots have so many filters, and the last is full."""
        full: Mask = self._added[slots] >= self._ends[most - 1]
        return full

    def put(self, ids: U64, slots: Index, most: int) -> None:
        """Put in ids, by slot, of one slot in the order in which they came, into so many filters of a slot at most."""
        many = np.bincount(slots, minlength=len(self._added))
        before = self._added - (np.cumsum(many) - many)
        layer = np.searchsorted(self._ends, before[slots] + np.arange(len(slots)), "right")
        if (layer >= most).any():
            fitting = layer < most
            ids, slots, layer = ids[fitting], slots[fitting], layer[fitting]
        self._begin(slots, layer)
        self._changed[slots, layer] = True
        self._added += np.bincount(slots, minlength=len(self._added))
        place, set_ = self._place(ids, slots, layer), bits(ids)
        while len(place):
            self._words[place] |= set_  # of those of one word the last wins; the others come again
            lost = self._words[place] & set_ != set_
            place, set_ = place[lost], set_[lost]

    def wanted(self) -> list[int]:
        """How many slots want 0, 1, 2, … filters: those they have, and one more where the last is full."""
        layers = np.count_nonzero(self._at >= 0, axis=1)
        some = layers > 0
        wanted = layers[some] + (self._added[some] >= self._ends[layers[some] - 1])
        many: list[int] = np.bincount(np.minimum(wanted, self._layers), minlength=self._layers + 1).tolist()
        return many

    def keep(self, most: int, slots: Sequence[int] | None = None) -> None:
        """Let go of all but the first so many filters of these slots, or of all."""
        chosen = np.arange(len(self._at)) if slots is None else np.array(slots, np.intp)
        chosen = chosen[chosen < len(self._at)]
        gone = np.zeros(self._at.shape, np.bool_)
        gone[chosen, most:] = self._at[chosen, most:] >= 0
        held = self._ends[most - 1] if most else 0
        self._added[chosen] = np.minimum(self._added[chosen], held)
        self._changed |= gone
        self._at[gone] = -1
        if gone.any():
            self._close_up()

    def changes(self) -> Iterator[tuple[int, int, bytes | None]]:
        """Slot, layer and content of filters that changed since the last call; None of those that went."""
        for slot, layer in np.argwhere(self._changed).tolist():
            yield slot, layer, self._packed(slot, layer) if self._at[slot, layer] >= 0 else None
        self._changed[:] = False

    def names(self) -> list[tuple[int, int]]:
        """Slot and layer of all that there are."""
        return [(slot, layer) for slot, layer in np.argwhere(self._at >= 0).tolist()]

    def restore(self, parts: Iterable[tuple[int, int, bytes]]) -> list[tuple[int, int]]:
        """Take in filters; how many ids each slot has in them. `StateError` if one is not what was written."""
        for slot, layer, part in parts:
            added, words = msgspec.msgpack.decode(part, type=tuple[int, bytes])
            if not 0 <= layer < self._layers or len(words) != 8 * self._sizes[layer]:
                raise unusable(f"filter {layer} of a role has {len(words)} bytes")
            self.reserve(slot)
            self._begin(np.array([slot]), np.array([layer]))
            at = self._at[slot, layer]
            self._words[at : at + self._sizes[layer]] = np.frombuffer(words, np.uint64)
            self._added[slot] += added
        return [(slot, int(self._added[slot])) for slot in np.flatnonzero(self._added).tolist()]

    def _packed(self, slot: int, layer: int) -> bytes:
        at, before = self._at[slot, layer], int(self._ends[layer - 1]) if layer else 0
        added = min(int(self._added[slot]), int(self._ends[layer])) - before
        return msgspec.msgpack.encode((added, self._words[at : at + self._sizes[layer]].tobytes()))

    def _place(self, ids: U64, slots: Index, layer: int | I64) -> Index:
        """Where the word of each id lies."""
        place: Index = self._at[slots, layer] + (ids >> self._shifts[layer]).astype(np.intp)
        return place

    def _begin(self, slots: Index, layer: Index) -> None:
        """Begin the filters that are not there yet."""
        missing = self._at[slots, layer] < 0
        if not missing.any():
            return
        for code in np.unique(slots[missing] * self._layers + layer[missing]).tolist():
            slot, number = divmod(code, self._layers)
            self._at[slot, number] = self._end
            self._end += int(self._sizes[number])
        if self._end > len(self._words):
            self._words.resize(self._end + len(self._words) // 8, refcheck=False)

    def _close_up(self) -> None:
        there = np.argwhere(self._at >= 0)
        self._end = 0
        for slot, layer in there[np.argsort(self._at[tuple(there.T)])].tolist():
            at, size = int(self._at[slot, layer]), int(self._sizes[layer])
            self._words[self._end : self._end + size] = self._words[at : at + size]
            self._at[slot, layer] = self._end
            self._end += size
        self._words.resize(self._end, refcheck=False)

    def reserve(self, slot: int) -> None:
        """Make room for this slot, which has to be there before it is asked for."""
        self._added, self._changed = grown(self._added, slot), grown(self._changed, slot)
        self._at = grown(self._at, slot, -1)
