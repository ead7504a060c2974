"""Tallies of one rule: what was counted, per group and second. Pure.

A tally row is (group, second, credentials, item). For `requests` and `bytes` the item is an amount and rows of one
(group, second, credentials) are added up; for distinct measures it is a member's hash and repeated rows are one. Rows
add up in any order, so order, batching, restarts and sharding cannot change what is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from detector.core.access import I64, U64, Index
from detector.core.runs import Run, Segments, concat
from detector.core.table import SPREAD
from detector.core.window import by_value

SEGMENT = 3600
CODE_BITS = 20


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
    order = np.argsort(packed)
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
        number = np.cumsum(~same[tied]).astype(np.uint64)
        value = tie[order[tied]]
        if len(tied) < 1 << CODE_BITS:
            inner = np.argsort(number << np.uint64(64 - CODE_BITS) | value >> np.uint64(CODE_BITS))
        else:
            inner = np.lexsort((value, number))
        order[tied] = order[tied][inner]
    return order, later


def _first(again: Index, rows: int) -> Index:
    """The places that are not among these."""
    first = np.ones(rows, np.bool_)
    first[again] = False
    return np.flatnonzero(first)


class Tallies:
    """Per-second tallies of one rule."""

    def __init__(self, name: str, *, distinct: bool) -> None:
        self._merge = merge_members if distinct else merge_amounts
        self._segments = Segments(name, self._merge)

    def add(self, group: U64, second: I64, who: U64, item: U64) -> list[Run]:
        """Count these rows. Returns them by hour, in the order of group and second, repeated rows put together."""
        runs = []
        for hour, rows in by_value(second // SEGMENT):
            run = self._merge([(group[rows], second[rows], who[rows], item[rows])])
            self._segments.add(hour, run)
            runs.append(run)
        return runs

    def rows(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """Seconds, credentials and items of one group from second `first` to `last`, by second."""
        parts = []
        for part in self._segments.parts(first // SEGMENT, last // SEGMENT):
            _, *columns = part.span(group, group)
            inside = slice(*np.searchsorted(columns[0], (first, last + 1)))
            parts.append(tuple(column[inside] for column in columns))
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        second, who, item = concat(parts)
        order = np.argsort(second, kind="stable")
        return second[order], who[order], item[order]

    def everything(self, first: int, last: int) -> Run:
        """All rows of all groups from second `first` to `last`, merged."""
        runs = [part.whole() for part in self._segments.parts(first // SEGMENT, last // SEGMENT)]
        if not runs:
            return tuple(np.zeros(0, dtype) for dtype in (np.uint64, np.int64, np.uint64, np.uint64))
        merged = self._merge(runs)
        second = merged[1].astype(np.int64)
        rows = (second >= first) & (second <= last)
        return tuple(column[rows] for column in merged)

    def runs(self) -> Iterator[Run]:
        """All that is held, run by run."""
        held = self._segments.segments()
        return (part.whole() for part in self._segments.parts(held[0], held[-1])) if held else iter(())

    def segments(self) -> list[int]:
        """The hours (of event time) that hold something, in order."""
        return self._segments.segments()

    def groups(self) -> set[int]:
        """All groups that hold something."""
        return {group for run in self.runs() for group in np.unique(run[0]).tolist()}

    def forget_before(self, second: int) -> bool:
        """Let go of whole segments before this second; whether there were any."""
        return self._segments.drop_before(second // SEGMENT)

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self._segments.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        self._segments.restore(parts)
