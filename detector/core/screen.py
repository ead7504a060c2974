"""An upper bound of every value of a rule, so that nearly all groups are never looked at closely. Pure.

Time is cut into buckets of one window. A value at a second of a bucket is at most what was counted in that bucket and
the one before. What was counted is kept by places, of which each (group, bucket) has one by its hash: two pairs in one
place only raise the bound. Places grow in number with the pairs. Doubled, each half starts from the whole's total, so
the bound still holds; where memory is short they are folded, and what lay in two places is bound by the larger total.

A distinct measure is bound by its rows, one a member and second. Where a group has few members, seen over and over
(networks, buckets, roles), that is no bound to speak of: then a member counts once a bucket, for as long as it is
remembered. A member that was forgotten counts again, which only raises the bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, Index
from detector.core.part import Run, Shelf
from detector.core.table import SPREAD, Table
from detector.core.window import by_value, grouped, starts_of_runs

HOUR = 3600
SMALLEST, LARGEST = 1 << 7, 1 << 18
"""Places of a stretch of time."""
RECENT = 8
"""Stretches that are never folded: where records keep coming, a loose bound makes work of every group."""
GROWTH = 4
REMEMBERED = 1 << 16
"""Members of groups and buckets that are remembered, where members are few."""
ROOM = 8
"""Places a pair, where members are few: one pair more in a place would be as good as another member."""


class _Places:
    """Totals of one stretch of time. `pairs`: put in so far, `room`: places there should be for each."""

    def __init__(self, room: int) -> None:
        self.totals = np.zeros(SMALLEST, np.int64)
        self.pairs, self.room = 0, room

    def add(self, mixed: U64, amounts: I64) -> None:
        self.pairs += len(mixed)
        while self.pairs * self.room > len(self.totals) < LARGEST:
            self.totals = np.repeat(self.totals, GROWTH)
        np.add.at(self.totals, self._place(mixed), amounts)

    def of(self, mixed: U64) -> I64:
        return self.totals[self._place(mixed)]

    def fold(self) -> None:
        """Make do with the fewest places."""
        self.totals = self.totals.reshape(SMALLEST, -1).max(axis=1)
        self.pairs = 0

    def _place(self, mixed: U64) -> Index:
        return (mixed >> np.uint64(65 - len(self.totals).bit_length())).astype(np.intp)


class Touched(NamedTuple):
    """Groups and buckets in which something was counted, in order: from which second on, and how much at most."""

    groups: U64
    buckets: I64
    since: I64
    amounts: I64


class Screen:
    """Bounds of one rule.

    width: seconds of a bucket, the rule's window. distinct: an item counts as one, every second, or with `few` once a
    bucket; item 0 is no member then.
    """

    def __init__(self, width: int, *, distinct: bool, few: bool = False) -> None:
        self.width, self.few = width, few
        self._distinct = distinct
        self._members = Table()
        self._buckets = max(1, HOUR // width)
        self._stretches: dict[int, _Places] = {}

    def add(self, run: Run) -> tuple[U64, I64, I64]:
        """Count a run (sorted by group and second).

        Returns the groups and buckets it touches, and for each an upper bound of any value seen in or just after it.
        """
        touched = self.touched(run)
        return touched.groups, touched.buckets, self.put(touched)

    def touched(self, run: Run) -> Touched:
        """The groups and buckets that a run touches."""
        bucket = run[1] // self.width
        starts = starts_of_runs(run[0], bucket)
        if self.few:
            amounts = self._new_members(run, bucket, starts)
        elif self._distinct:
            amounts = np.diff(np.append(starts, len(bucket)))
        else:
            amounts = np.add.reduceat(run[3].astype(np.int64), starts)
        return Touched(run[0][starts], bucket[starts], run[1][starts], amounts)

    def put(self, touched: Touched) -> I64:
        """Count what was touched; an upper bound of any value seen in each bucket or just after it."""
        group, bucket, _, amounts = touched
        mixed = _mixed(group, bucket)
        for stretch, rows in by_value(bucket // self._buckets):
            places = self._stretches[stretch] = (
                self._stretches.pop(stretch) if stretch in self._stretches else _Places(ROOM if self.few else 1)
            )
            places.add(mixed[rows], amounts[rows])
        around = np.maximum(self._totals(group, bucket - 1), self._totals(group, bucket + 1))
        bounds: I64 = self._totals(group, bucket) + around
        return bounds

    def bounds(self, group: U64, bucket: I64) -> I64:
        """As `bound`, of each of these groups in its bucket."""
        return self._totals(group, bucket) + self._totals(group, bucket - 1)

    def bound(self, group: int, bucket: int) -> int:
        """No value of the group at a second of this bucket is larger."""
        both = self._totals(np.full(2, group, np.uint64), np.array((bucket - 1, bucket)))
        return int(both.sum())

    def forget_before(self, second: int) -> None:
        """Let go of what only bounds values before this second."""
        oldest = (second // self.width - 1) // self._buckets
        self._stretches = {stretch: places for stretch, places in self._stretches.items() if stretch >= oldest}

    def lean_on(self, shelf: Shelf, room: int) -> None:
        """It needs no shelf: bounds only become less tight."""

    def changes(self) -> dict[str, bytes | None]:
        """Bounds are no part of a checkpoint: they are made anew of what was counted."""
        return {}

    def tidy(self, most: int) -> None:
        """Nothing has to be written."""

    def leaving(self, most: int) -> dict[str, bytes | None]:  # noqa: ARG002  nothing is written, however much goes
        """Nothing, as in `changes`."""
        return {}

    def held(self) -> int:
        """Bytes in memory."""
        return self.few * self._members.nbytes + sum(places.totals.nbytes for places in self._stretches.values())

    def let_go(self, most: int) -> None:
        """Hold no more than so many bytes, if folding what was not touched for longest is enough."""
        held = self.held()
        for places in list(self._stretches.values())[: max(0, len(self._stretches) - RECENT)]:
            if held <= most:
                return
            held -= places.totals.nbytes
            places.fold()
            held += places.totals.nbytes

    def _new_members(self, run: Run, bucket: I64, starts: Index) -> I64:
        """Members that are not remembered of each stretch of a run that begins at `starts`."""
        group, _, _, item = run
        at = starts_of_runs(group, bucket, item)
        at = at[item[at] != 0]
        pair = _mixed(group[at], bucket[at])
        member, first, _ = grouped(_mixed(pair, item[at].view(np.int64)) | np.uint64(1))
        if len(self._members) + len(member) > REMEMBERED:
            self._members = Table()
        _, new = self._members.enter(member)
        return np.bincount(np.searchsorted(starts, at[first[new]], "right") - 1, minlength=len(starts))

    def _totals(self, group: U64, bucket: I64) -> I64:
        totals, mixed = np.zeros(len(group), np.int64), _mixed(group, bucket)
        for stretch, rows in by_value(bucket // self._buckets):
            if stretch in self._stretches:
                totals[rows] = self._stretches[stretch].of(mixed[rows])
        return totals


def _mixed(group: U64, bucket: I64) -> U64:
    """Hash of (group, bucket); groups are such hashes already as nobody can aim."""
    mixed = group + bucket.astype(np.uint64) * SPREAD
    spread: U64 = (mixed ^ (mixed >> np.uint64(32))) * SPREAD
    return spread
