"""Tallies of a rule: what was counted, per group and second. Pure.

A tally row is (group, second, credentials, item). For `requests` and `bytes` the item is an amount and rows of one
(group, second, credentials) are added up; for distinct measures it is a member's hash and repeated rows are one. Rows
add up in any order, so order, batching, restarts and sharding cannot change what is counted.

Windows and thresholds are no part of it. So in replay, where rules come and go together and nothing is forgotten, rules
that count the same records by the same groups share one tally. In the daemon each has its own: a rule that is changed
begins empty beside others that go on, and each lets go of what is older than its own windows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from detector.core.access import I64, U64, Index
from detector.core.part import Run
from detector.core.runs import Segments, concat
from detector.core.table import SPREAD
from detector.core.window import HALF, by_value, starts_of_runs, steady_order

Pool = dict[Hashable, "Tallies"]
"""What is counted → the tallies that all rules share which count just that."""

SEGMENT = 3600
SLICE = 1 << 20
"""Rows that are merged at a time, about, where an hour is looked at as a whole."""


def merge_amounts(runs: Sequence[Run]) -> Run:
    """Runs of amounts as one, by group and second, rows of one (group, second, credentials) added up."""
    group, second, who, item = run = concat(runs)
    order, later = _ordered(run, who * SPREAD)
    starts = _first(later[who[order[later]] == who[order[later - 1]]], len(order))
    kept = order[starts]
    return group[kept], second[kept], who[kept], np.add.reduceat(item[order], starts)


def merge_members(runs: Sequence[Run]) -> Run:
    """Runs of members as one, by group and second, each row once."""
    _, _, who, item = run = concat(runs)
    order, later = _ordered(run, (who * SPREAD + item) * SPREAD)
    row, before = order[later], order[later - 1]
    again = later[(who[row] == who[before]) & (item[row] == item[before])]
    if len(again):
        order = order[_first(again, len(order))]
    return tuple(column[order] for column in run)


def together(run: Run, *, distinct: bool) -> Run:
    """A run by group, second, credentials and member, its repeated rows put together."""
    group, second, who, item = run
    if distinct:
        once = starts_of_runs(*run)
        return run if len(once) == len(group) else tuple(column[once] for column in run)
    starts = starts_of_runs(group, second, who)
    if len(starts) == len(group):
        return run
    return group[starts], second[starts], who[starts], np.add.reduceat(item, starts)


def by_hour(run: Run) -> list[tuple[int, Run]]:
    """A run by the hour it is tallied in."""
    return [(hour, tuple(column[rows] for column in run)) for hour, rows in by_value(run[1] // SEGMENT)]


def _ordered(run: Run, tie: U64) -> tuple[Index, Index]:
    """Order of the rows by group and second, and the places in it that have group and second of the place before.

    One sort of one number: the second in place of the group's lowest bits. Where two groups are alike in all their
    other bits this would mix them up; that shows, and then the slower way is gone. Rows of one group and second are
    ordered by the high bits of `tie`, a hash: equal rows come to lie together (or, once in ages, another comes between,
    which costs a row and changes no count).
    """
    group, second = run[0], run[1]
    since = int(second.min())
    low = np.uint64((1 << (int(second.max()) - since).bit_length()) - 1)
    packed = (group & ~low) | (second - since).astype(np.uint64)
    order = np.argsort(packed, kind="stable")  # runs in order are merged, not sorted
    packed, ordered = packed[order], group[order]
    other = ordered[1:] != ordered[:-1]
    if (other & (packed[1:] ^ packed[:-1] <= low)).any():
        order = np.lexsort((second, group))
        packed, ordered = second[order].astype(np.uint64), group[order]
        other = ordered[1:] != ordered[:-1]
    same = np.append(False, ~other & (packed[1:] == packed[:-1]))
    later = np.flatnonzero(same)
    if (tie[order[later]] != tie[order[later - 1]]).any():
        tied = np.flatnonzero(same | np.append(same[1:], False))
        number = np.cumsum(~same[tied])
        value = tie[order[tied]]
        inner = steady_order(value >> HALF)
        order[tied] = order[tied][inner[steady_order(number[inner])]]
    return order, later


def _first(again: Index, rows: int) -> Index:
    """The places that are not among these."""
    first = np.ones(rows, np.bool_)
    first[again] = False
    return np.flatnonzero(first)


class Tallies(Segments):
    """Per-second tallies of one rule, or of all that count alike."""

    def __init__(self, name: str, *, distinct: bool) -> None:
        self.distinct = distinct
        super().__init__(name, merge_members if distinct else merge_amounts)

    def add(self, runs: Iterable[tuple[int, Run]]) -> None:
        """Count the rows of these runs, each of one hour, as `by_hour` gives them."""
        for hour, run in runs:
            self.append(hour, run)

    def put_together(self, run: Run) -> Run:
        """A run in order, its repeated rows put together."""
        return self._merge([run])

    def rows(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """Seconds, credentials and items of one group from second `first` to `last`, by second."""
        parts = []
        for part in self.parts(first // SEGMENT, last // SEGMENT):
            _, *columns = part.span(group, group)
            inside = slice(*np.searchsorted(columns[0], (first, last + 1)))
            parts.append(tuple(column[inside] for column in columns))
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        second, who, item = concat(parts)
        order = np.argsort(second, kind="stable")
        return second[order], who[order], item[order]

    def slices(self, first: int, last: int) -> Iterator[Run]:
        """All rows from second `first` to `last`, merged, as many groups at a time as memory bears."""
        parts = list(self.parts(first // SEGMENT, last // SEGMENT))
        count = 1 + sum(map(len, parts)) // SLICE
        edges = [(1 << 64) * number // count for number in range(count + 1)]
        for low, end in pairwise(edges):
            runs = [run for part in parts if len((run := part.span(low, end - 1))[0])]
            if runs:
                merged = self._merge(runs)
                rows = (merged[1] >= first) & (merged[1] <= last)
                yield tuple(column[rows] for column in merged)

    def groups(self) -> set[int]:
        """All groups that hold something."""
        return {group for part in self.all_parts() for group in np.unique(part.keys()).tolist()}

    def forget_before(self, second: int) -> bool:
        """Let go of whole segments before this second; whether there were any."""
        return self.drop_before(second // SEGMENT)
