"""When groups were heard, without the seconds between: stretches of time that no gap over a limit parts. Pure.

Rows are (group, first, last): a group was heard in both seconds, and between them never fell silent for longer than the
limit. Stretches that lie no further apart than that are one. So they add up in any order, and the gaps between them are
exactly the gaps over the limit between neighbouring records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from detector.core.access import I64, U64, Mask
from detector.core.part import Run
from detector.core.runs import Segments, concat
from detector.core.window import by_value

PARTITION_BITS = 4
TIME_BITS = 34
"""Event times are below 2^33; a group's number stands above them."""
NOBODY: Run = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))


class Spans(Segments):
    """Stretches of many groups, cut by the highest bits of the group. Two lie more than `limit` seconds apart."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(name, self.united)
        self._limit = limit

    def add(self, group: U64, second: I64) -> Run:
        """These groups were heard in these seconds. Returns the stretches that makes of these alone."""
        heard = self.united([(group, second, second)])
        for partition, rows in by_value(_partition(heard[0])):
            self.append(partition, tuple(column[rows] for column in heard))
        return heard

    def united(self, runs: Sequence[Run]) -> Run:
        """Runs as one, by group and time, stretches that belong together put together."""
        group, first, last = concat(runs)
        order = np.lexsort((first, group))
        group, first, last = group[order], first[order], last[order]
        other = np.append(True, group[1:] != group[:-1])[: len(group)]
        number = np.cumsum(other) << TIME_BITS
        until = np.maximum.accumulate(number + last) - number
        begins = other.copy()
        begins[1:] |= first[1:] - until[:-1] > self._limit
        starts = np.flatnonzero(begins)
        return group[starts], first[starts], until[np.append(starts[1:], len(group))[: len(starts)] - 1]

    def all(self, more: Run = NOBODY) -> Iterator[Run]:
        """All stretches by group and time, one partition at a time; `more` as if it had been added."""
        of_more = _partition(more[0])
        for partition in sorted({*self.segments(), *of_more.tolist()}):
            added = tuple(column[of_more == partition] for column in more)
            yield self.united([added, *(part.whole() for part in self.parts(partition, partition))])

    def of(self, group: int) -> tuple[I64, I64]:
        """First and last seconds of a group's stretches, in order."""
        partition = group >> 64 - PARTITION_BITS
        _, first, last = self.united([NOBODY, *(part.span(group, group) for part in self.parts(partition, partition))])
        return first, last

    def keep(self, kept: Callable[[Run], Mask]) -> bool:
        """Let go of all stretches but those that `kept` chooses; whether there were any to let go of."""
        gone = False
        for partition in self.segments():
            run = self.united([part.whole() for part in self.parts(partition, partition)])
            lasting = kept(run)
            if not lasting.all():
                self.replace(partition, tuple(column[lasting] for column in run))
                gone = True
        return gone


def following(run: Run, otherwise: int) -> I64:
    """The first second of the stretch of the same group that follows each; `otherwise` where none does."""
    group, first, _ = run
    after = np.full(len(group), otherwise, np.int64)
    same = np.flatnonzero(group[1:] == group[:-1])
    after[same] = first[same + 1]
    return after


def _partition(group: U64) -> I64:
    return (group >> np.uint64(64 - PARTITION_BITS)).astype(np.int64)
