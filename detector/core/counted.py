"""What a rule, or a step of one, has counted: tallies, and bounds of what they come to. Pure.

In replay rules come and go together and nothing is forgotten, so rules that count the same records by the same measure
share one tally. Where their groups are of identities, whatever the level, it is by credentials and full seconds: what a
group has is what its credentials have, and it is put together for the few groups that are looked at closely.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial

import numpy as np

from detector.core.access import I64, U64, Index
from detector.core.groupings import GroupKey, one_identity
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.runs import concat
from detector.core.screen import Screen, Touched
from detector.core.tally import SEGMENT, Pool, Tallies
from detector.core.view import BatchView

Rows = tuple[I64, U64, U64]
"""Seconds, credentials and items, by second."""


class Counted:
    """Tallies and bounds of a rule, or of a step of one."""

    def __init__(self, tallies: Tallies, bounds: Screen) -> None:
        self.tallies, self.bounds = tallies, bounds
        self._of_groups: OfGroups | None = None

    def share(self, pool: Pool, what: Hashable, levels: GroupKey, people: People, grain: int = 1) -> None:
        """Hold together with others what they count just so. what: records and measure; grain: seconds that are one."""
        if not one_identity(levels) or self.bounds.few:
            self.tallies = pool.setdefault((what, levels, grain), self.tallies)
            return
        self.tallies = pool.setdefault(what, self.tallies)
        (level,) = levels
        people.keep_groups(level)
        self._of_groups = OfGroups(self.tallies, partial(people.of_group, level), grain)

    def add(self, view: BatchView, rows: Index, levels: GroupKey, items: U64, grain: int = 1) -> Iterator[Touched]:
        """Count these rows of a batch by their groups at these levels; what that touches."""
        if self._of_groups is None:
            for _, run in view.tally(self.tallies, rows, levels, items, grain):
                yield self.bounds.touched(run)
        elif len((counts := view.count(self.tallies, rows, items)).codes):
            yield view.touched(counts, levels, self.bounds.width, grain)

    def rows(self, group: int, first: int, last: int) -> Rows:
        """What was counted of a group from second `first` to `last`."""
        return (self._of_groups or self.tallies).rows(group, first, last)

    def forget_before(self, second: int) -> bool:
        """Let go of what was counted before; whether there was any."""
        gone = self.tallies.forget_before(second)
        if gone:
            self.bounds.forget_before(second)
        return gone

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self.tallies, self.bounds]


class OfGroups:
    """Reads tallies by credentials as if they were by groups.

    of_group: the credentials of one, in order. grain: seconds that are one.
    The same group is asked for again and again, window by window: its hours are put together once.
    """

    def __init__(self, tallies: Tallies, of_group: Callable[[int], U64], grain: int) -> None:
        self._tallies, self._of_group, self._grain = tallies, of_group, grain
        self._asked: tuple[int, int] = (0, -1)
        self._credentials = np.zeros(0, np.uint64)
        self._hours: dict[int, Rows] = {}

    def rows(self, group: int, first: int, last: int) -> Rows:
        """As of `Tallies`."""
        if self._asked != (group, self._tallies.taken_in):
            self._asked = group, self._tallies.taken_in
            self._credentials, self._hours = self._of_group(group), {}
        hours = range(first // SEGMENT, last // SEGMENT + 1)
        self._hours = {hour: self._hours[hour] if hour in self._hours else self._hour(hour) for hour in hours}
        found = []
        for columns in self._hours.values():
            inside = slice(*np.searchsorted(columns[0], (first, last + 1)))
            found.append(tuple(column[inside] for column in columns))
        second, who, item = concat(found or [NOTHING])  # the last second may be before the first
        return second, who, item

    def _hour(self, hour: int) -> Rows:
        runs: list[Run] = [NOTHING]
        if len(self._credentials):
            runs += [part.all_of(self._credentials)[1] for part in self._tallies.parts(hour, hour)]
        second, who, item = concat(runs)
        if self._grain > 1 and len(second):
            _, second, who, item = self._tallies.put_together((who, second // self._grain * self._grain, who, item))
        order = np.argsort(second, kind="stable")
        return second[order], who[order], item[order]


NOTHING: Rows = (np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64))
