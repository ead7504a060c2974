"""What the roles counted in the panes of the last 72 hours, and the sums of the last 1, 24 and 72. Pure.

Rows lie in segments: (pane, slot, counter) packed in one number, and a count. Sums are whole numbers, moved by what
comes in and what falls out, so they are exact however long they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from detector.core.access import I64, Index
from detector.core.part import Run
from detector.core.runs import LARGE, Segments, concat
from detector.model.channels import COUNTERS, PANE, WINDOWS
from detector.model.slots import grown

SEGMENT = 72
"""Panes of a segment: six hours."""
_PANE_SHIFT, _SLOT_SHIFT = 36, 4
_LOW = (1 << _PANE_SHIFT) - 1
MOST = np.iinfo(np.uint32).max


def by_key(runs: Sequence[Run]) -> Run:
    """Runs as one, in the order of the first column."""
    run = concat(runs)
    order = np.argsort(run[0], kind="stable")
    return tuple(column[order] for column in run)


class History:
    """Counts by pane and slot. Panes are numbered from the epoch."""

    def __init__(self, name: str) -> None:
        self.rows = Segments(name, by_key)
        self._sums = np.zeros((256, len(WINDOWS), COUNTERS), np.int64)
        self._since = np.zeros(256, np.int64)
        self._now = 0

    def move_to(self, pane: int) -> None:
        """Let fall out of the windows what this pane's windows do not hold."""
        if self._now:
            for number, window in enumerate(WINDOWS):
                length = window // PANE
                self._move(number, self._now - length + 1, min(pane - length, self._now), -1)
            if pane // SEGMENT > self._now // SEGMENT:
                self._settle(self._now // SEGMENT)
        self._now = pane
        self.rows.drop_before((pane - WINDOWS[-1] // PANE) // SEGMENT)

    def sums(self, slots: Index) -> I64:
        """Sums before this pane: (roles, windows, counters)."""
        self._reserve(int(slots.max(initial=0)))
        return self._sums[slots]

    def sums_at(self, slots: Index, pane: int) -> I64:
        """What of the sums a later pane's windows would still hold, had nothing come since."""
        sums = self.sums(slots)
        order = np.argsort(slots)
        for number, window in enumerate(WINDOWS):
            length = window // PANE
            for slot, counter, count in self._between(self._now - length + 1, min(pane - length, self._now)):
                place = np.minimum(np.searchsorted(slots[order], slot), len(slots) - 1)
                mine = slots[order][place] == slot
                np.subtract.at(sums[:, number], (order[place[mine]], counter[mine]), count[mine])
        return sums

    def add(self, slots: Index, totals: I64) -> None:
        """What this pane counted is part of the sums: (roles, counters)."""
        self._sums[slots] += np.minimum(totals, MOST)[:, None, :]

    def write(self, pane: I64, slots: Index, totals: I64) -> None:
        """Keep what panes of one segment counted: (roles and panes, counters). pane: number of each."""
        place = pane << _PANE_SHIFT | slots << _SLOT_SHIFT
        order = np.argsort(place)
        totals = totals[order]
        at, counter = np.nonzero(totals)
        key = (place[order][at] | counter).astype(np.uint64)
        count = np.minimum(totals[at, counter], MOST).astype(np.uint32)
        self.rows.append(int(pane[0]) // SEGMENT, (key, count))

    def clear(self, slot: int) -> None:
        """From the next pane on the sums of this role begin anew."""
        self._reserve(slot)
        self._sums[slot] = 0
        self._since[slot] = self._now + 1

    def since(self, slot: int) -> int:
        """The pane from which on the sums of this role count."""
        return int(self._since[slot]) if slot < len(self._since) else 0

    def restore(self, parts: Mapping[str, bytes], now: int, since: Sequence[tuple[int, int]]) -> None:
        """Take in the parts of a checkpoint made at this pane, and from when on each role's sums count."""
        self._now = now
        for slot, pane in since:
            self._reserve(slot)
            self._since[slot] = pane
        self.rows.restore(parts)
        for number, window in enumerate(WINDOWS):
            self._move(number, now - window // PANE + 1, now, 1)

    def _settle(self, segment: int) -> None:
        """Nothing more comes into a segment: as one run it is faster to look into."""
        parts = list(self.rows.parts(segment, segment))
        if len(parts) > 1 and sum(map(len, parts)) <= LARGE:
            self.rows.replace(segment, by_key([part.whole() for part in parts]))

    def _move(self, number: int, first: int, last: int, sign: int) -> None:
        """Add or take the panes `first` to `last` to or from one window's sums."""
        for slot, counter, count in self._between(first, last):
            place = (slot * len(WINDOWS) + number) * COUNTERS + counter
            np.add.at(self._sums.reshape(-1), place, sign * count)

    def _between(self, first: int, last: int) -> Iterator[tuple[Index, Index, I64]]:
        """Slot, counter and count of what panes `first` to `last` counted and still counts."""
        if last < first:
            return
        for part in self.rows.parts(max(first, 0) // SEGMENT, last // SEGMENT):
            key, count = part.span(max(first, 0) << 36, ((last + 1) << 36) - 1)
            if len(key):
                pane, slot = (key >> _PANE_SHIFT).astype(np.int64), (key & _LOW) >> _SLOT_SHIFT
                self._reserve(int(slot.max()))
                slot = slot.astype(np.intp)
                lasting = pane >= self._since[slot]
                counter = (key[lasting] & np.uint64(15)).astype(np.intp)
                yield slot[lasting], counter, count[lasting].astype(np.int64)

    def _reserve(self, slot: int) -> None:
        self._sums, self._since = grown(self._sums, slot), grown(self._since, slot)
