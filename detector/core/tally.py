"""Tallies of one rule: what was counted, per group and second. Pure.

A tally row is (group, second, credentials, item). For `requests` and `bytes` the item is an amount and rows of one
(group, second, credentials) are added up; for distinct measures it is a member's hash and repeated rows are one. Rows
add up in any order, so order, batching, restarts and sharding cannot change what is counted.

A coarse total per (group, bucket of one window) bounds a group's value from above, so that nearly all groups are never
looked at closely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detector.core.access import I64, U64, Index
from detector.core.runs import Run, Segments, concat
from detector.core.window import starts_of_runs

SEGMENT = 3600
Pair = tuple[int, int]


def merge_amounts(runs: Sequence[Run]) -> Run:
    """Runs of amounts as one, rows of one (group, second, credentials) added up."""
    group, second, who, item = concat(runs)
    order = np.lexsort((who, second, group))
    group, second, who, item = group[order], second[order], who[order], item[order]
    starts = starts_of_runs(group, second, who)
    return group[starts], second[starts], who[starts], np.add.reduceat(item, starts) if len(starts) else item


def merge_members(runs: Sequence[Run]) -> Run:
    """Runs of members as one, each row once."""
    group, second, who, item = concat(runs)
    order = np.lexsort((item, who, second, group))
    group, second, who, item = group[order], second[order], who[order], item[order]
    starts = starts_of_runs(group, second, who, item)
    return group[starts], second[starts], who[starts], item[starts]


class Tallies:
    """Per-second tallies of one rule. `bucket`: seconds of a bucket of the coarse screen (the rule's window)."""

    def __init__(self, name: str, bucket: int, *, distinct: bool) -> None:
        self._merge = merge_members if distinct else merge_amounts
        self._distinct = distinct
        self._bucket = bucket
        self._segments = Segments(name, self._merge)
        self._coarse: dict[Pair, int] = {}

    def add(self, group: U64, second: I64, who: U64, item: U64) -> list[tuple[int, int, int]]:
        """Count these rows. Returns (group, bucket, an upper bound of any value seen in or just after the bucket)."""
        if not len(group):
            return []
        run = self._merge([(group, second, who, item)])
        segment = run[1].astype(np.int64) // SEGMENT
        for number in np.unique(segment):
            rows = segment == number
            self._segments.add(int(number), tuple(column[rows] for column in run) if not rows.all() else run)
        return self._screen(run)

    def rows(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """Seconds, credentials and items of one group from second `first` to `last`, by second."""
        parts = []
        for run in self._segments.within(first // SEGMENT, last // SEGMENT):
            low, high = (int(np.searchsorted(run[0], np.uint64(group), side)) for side in ("left", "right"))
            if high > low:
                inside = slice(
                    low + np.searchsorted(run[1][low:high], first),
                    low + np.searchsorted(run[1][low:high], last, "right"),
                )
                parts.append(tuple(column[inside] for column in run[1:]))
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        second, who, item = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(second, kind="stable")
        return second[order], who[order], item[order]

    def everything(self, first: int, last: int) -> Run:
        """All rows of all groups from second `first` to `last`, merged."""
        runs = list(self._segments.within(first // SEGMENT, last // SEGMENT))
        if not runs:
            return tuple(np.zeros(0, dtype) for dtype in (np.uint64, np.int64, np.uint64, np.uint64))
        merged = self._merge(runs)
        second = merged[1].astype(np.int64)
        rows = (second >= first) & (second <= last)
        return tuple(column[rows] for column in merged)

    def segments(self) -> list[int]:
        """The hours (of event time) that hold something, in order."""
        return self._segments.segments()

    def groups(self) -> set[int]:
        """All groups that hold something."""
        held = self._segments.segments()
        runs = self._segments.within(held[0], held[-1]) if held else ()
        return {group for run in runs for group in np.unique(run[0]).tolist()}

    def bound(self, group: int, bucket: int) -> int:
        """No value of the group at a second of this bucket is larger."""
        return self._coarse.get((group, bucket), 0) + self._coarse.get((group, bucket - 1), 0)

    def hot(self, threshold: float) -> set[Pair]:
        """The (group, bucket) pairs in which a value may be at or above the threshold."""
        near = {(group, bucket + step) for group, bucket in self._coarse for step in (0, 1)}
        return {pair for pair in near if self.bound(*pair) >= threshold}

    def forget_before(self, second: int) -> bool:
        """Let go of whole segments before this second; whether there were any."""
        if not self._segments.drop_before(second // SEGMENT):
            return False
        oldest = second // self._bucket - 1
        self._coarse = {pair: total for pair, total in self._coarse.items() if pair[1] >= oldest}
        return True

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self._segments.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self._segments.restore(parts)
        held = self._segments.segments()
        for run in self._segments.within(held[0], held[-1]) if held else ():
            self._screen(run)

    def _screen(self, run: Run) -> list[tuple[int, int, int]]:
        """Add a sorted run to the coarse totals; the touched buckets with their bounds."""
        bucket = run[1].astype(np.int64) // self._bucket
        starts: Index = starts_of_runs(run[0], bucket)
        if self._distinct:
            totals = np.diff(np.append(starts, len(bucket)))
        else:
            totals = np.add.reduceat(run[3].astype(np.int64), starts)
        coarse, touched = self._coarse, []
        for group, at, total in zip(run[0][starts].tolist(), bucket[starts].tolist(), totals.tolist(), strict=True):
            here = coarse[group, at] = coarse.get((group, at), 0) + total
            touched.append((group, at, here + max(coarse.get((group, at - 1), 0), coarse.get((group, at + 1), 0))))
        return touched
