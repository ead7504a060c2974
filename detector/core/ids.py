"""Ids with a rank each: sorted runs, a filter before them, forgotten by event hour. Pure.

Nearly every id that is asked for is new, and the filter says so. The others are looked up in the runs. New runs go
into one segment; what has grown large there is cut by the highest bits of the ids, so that no merge is ever of more
than one such partition, however many ids there are. What was forgotten leaves by and by; the hour before which that
is so goes into the checkpoint, so that a restart brings nothing back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.bloom import FULL, Bloom
from detector.core.part import Part, Run, Shelf
from detector.core.runs import LARGE, Segments, concat
from detector.core.window import by_value

NEW = -1
"""Segment of runs that are not cut into partitions yet."""
PARTITION_BITS = 7
PARTITIONS = 1 << PARTITION_BITS
_WIDTH = 64 - PARTITION_BITS
CYCLE = 16
"""Calls of `forget_before` in which every partition is rewritten once without what was forgotten."""
SMALLEST = 1 << 10
LARGEST = 1 << 23
"""Words of the filter."""
WORST = np.uint64((1 << 64) - 1)
_BOUNDS = np.arange(1, PARTITIONS, dtype=np.uint64) << np.uint64(_WIDTH)


class Ids(Segments):
    """Id → the smallest rank it was put in with. `once`: no id is ever put in twice."""

    def __init__(self, name: str, *, once: bool = True) -> None:
        super().__init__(name, _merged)
        self._once = once
        self._filter = Bloom(SMALLEST)
        self._largest = LARGEST
        self._forgotten = self._saved = 0
        self._mark = f"{name}-forgotten"
        self._turn = 0

    def look_up(self, ids: U64) -> tuple[Mask, U64]:
        """Which of these sorted ids are known, and their ranks."""
        known, rank = np.zeros(len(ids), np.bool_), np.full(len(ids), WORST)
        rows = np.flatnonzero(self._filter.may_hold(ids))
        self._match(NEW, ids, rows, known, rank)
        if self._once:
            rows = rows[~known[rows]]
        for partition, mine in by_value((ids[rows] >> np.uint64(_WIDTH)).astype(np.int64)):
            self._match(partition, ids, rows[mine], known, rank)
        return known, rank

    def add(self, ids: U64, rank: U64, hour: I64) -> None:
        """Put in these ids, sorted and each once, seen in these hours of event time."""
        self.append(NEW, (ids, rank, hour.astype(np.int32)))
        for part in [part for part in self.parts(NEW, NEW) if len(part) >= LARGE]:
            self._cut(part)
        self._filter.add(ids)
        if self._filter.full and len(self._filter) < self._largest:
            self._refill()

    def forget_before(self, hour: int) -> None:
        """Let go of what was put in for earlier hours. It is not found any more, and leaves memory by and by."""
        self._forgotten = hour
        self.rewrite(NEW, self._kept)
        for partition in range(self._turn, PARTITIONS, CYCLE):
            runs = [part.whole() for part in self.parts(partition, partition)]
            if runs:
                self.replace(partition, self._kept(_merged(runs)))
            first, last = partition << _WIDTH, (partition + 1 << _WIDTH) - 1
            self._filter.clear(first, last)
            for part in [*self.parts(NEW, NEW), *self.parts(partition, partition)]:
                self._filter.add(part.span(first, last)[0])
        self._turn = (self._turn + 1) % CYCLE

    def changes(self) -> dict[str, bytes | None]:
        """Parts that came (bytes) and went (None) since the last call, and the hour before which all is forgotten."""
        parts = super().changes()
        if self._forgotten != self._saved:
            self._saved = self._forgotten
            parts[self._mark] = msgspec.msgpack.encode(self._forgotten)
        return parts

    def restore(self, parts: Mapping[str, bytes], each: Callable[[Run], object] = lambda _: None) -> None:
        """Take in the parts of a checkpoint that are ours and show each; what is too much stays on the shelf."""
        super().restore(parts, each)
        if self._mark in parts:
            self._forgotten = self._saved = msgspec.msgpack.decode(parts[self._mark], type=int)
        self._refill()

    def lean_on(self, shelf: Shelf, room: int) -> None:
        """From now on what is in a checkpoint may leave memory. `room`: bytes to hold, half of them for the filter."""
        super().lean_on(shelf, room // 2)
        self._largest = max(SMALLEST, 1 << max(room // 16, 1).bit_length() - 1)

    def held(self) -> int:
        """Bytes in memory."""
        return super().held() + self._filter.nbytes

    def tidy(self, most: int) -> None:
        """Nothing is put together before its time: the next merge would read it again."""

    def _match(self, segment: int, ids: U64, rows: Index, known: Mask, rank: U64) -> None:
        """Note which of the sorted ids at these rows a segment holds, and their smallest ranks."""
        keys = ids[rows]
        for part in self.parts(segment, segment) if len(rows) else ():
            for hit, (ranks, hour) in part.find(keys):
                lasting = hour >= self._forgotten
                at = rows[hit[lasting]]
                known[at] = True
                rank[at] = np.minimum(rank[at], ranks[lasting])

    def _cut(self, part: Part) -> None:
        run = part.whole()
        self.drop(NEW, part)
        ends = [0, *np.searchsorted(run[0], _BOUNDS).tolist(), len(run[0])]
        for partition, (first, end) in enumerate(pairwise(ends)):
            if first < end:
                self.append(partition, tuple(column[first:end] for column in run))

    def _kept(self, run: Run) -> Run:
        lasting = run[2] >= self._forgotten
        return run if lasting.all() else tuple(column[lasting] for column in run)

    def _refill(self) -> None:
        """A filter of the right size, of what is held now."""
        words = 1 << (len(self) * 4 // FULL).bit_length()
        self._filter = Bloom(min(max(words, SMALLEST), self._largest))
        for part in self.all_parts():
            self._filter.add(part.keys())


def _merged(runs: Sequence[Run]) -> Run:
    """Runs as one, in the order of the ids; of one id the smallest rank."""
    run = concat(runs)
    order = np.argsort(run[0], kind="stable")  # runs in order are merged, not sorted
    ids = run[0][order]
    again = ids[1:] == ids[:-1]
    if again.any():
        order = np.lexsort((run[1], run[0]))[np.append(True, ~again)]
    return tuple(column[order] for column in run)
