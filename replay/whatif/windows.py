"""A rule's values over history for one window, and its episodes for any threshold: all groups at once. Pure.

Rules of this file
- Exactly the figures of `detector.core.threshold`: a replay with this threshold and window finds these episodes.
- A place on one long line stands for (group, second): every group has a stretch of its own, so far from the next that
  no window, and no gap between crossings, reaches over. So one sorted search serves all groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from detector.core.access import I64, Index, Mask
from detector.core.chosen import meant
from detector.core.rule import DISTINCT_CAP, DISTINCT_MEASURES, Exemption, Threshold
from detector.core.window import F64, longest_episode, starts_of_runs, unique_sorted
from replay.whatif.summary import DAY, Summary

T = TypeVar("T")
BLOCK = 1 << 20
"""Rows that are looked at at a time, about."""


@dataclass(frozen=True, slots=True)
class Values:
    """What was counted at every second with a record: at seconds `second` of groups `group`, sorted by both.

    Values past the cap are the cap; where an exception holds they are 0.
    """

    group: I64
    second: I64
    value: F64

    def __len__(self) -> int:
        return len(self.value)

    def reaching(self, threshold: float) -> Values:
        """The crossing seconds."""
        rows = self.value >= threshold
        return Values(self.group[rows], self.second[rows], self.value[rows])


@dataclass(frozen=True, slots=True)
class Episodes:
    """Episodes by group and opening: epoch seconds of first and last crossing, and the largest value."""

    group: I64
    opened_at: I64
    last_at: I64
    peak: F64

    def __len__(self) -> int:
        return len(self.group)


def with_window(rule: Threshold, window: int) -> Threshold:
    """The rule with another window, of which only what a window says is used."""
    return rule.model_copy(update={"window": window})


def values(summary: Summary, rule: Threshold) -> list[Values]:
    """The rule's values over all of history, some groups after the other."""
    return [_Block(summary, rule, *edges).values() for edges in summary.blocks(BLOCK)]


class _Block:
    """Some groups' rows on a line."""

    def __init__(self, summary: Summary, rule: Threshold, first: int, end: int) -> None:
        self._rule, self._summary = rule, summary
        self._first = first
        self._rows = slice(int(summary.starts[first]), int(summary.starts[end]))
        second = self._grained(summary.second[self._rows])
        self._since = int(second.min())
        self._stretch = int(second.max()) - self._since + 3 * rule.window + 1
        self._base = (summary.group[self._rows].astype(np.int64) - first) * self._stretch + rule.window - self._since
        self._place = self._base + second

    def values(self) -> Values:
        """At every place with a record."""
        at = unique_sorted(self._place)
        group = at // self._stretch
        second = at - group * self._stretch - self._rule.window + self._since
        counted = self._distinct(at) if self._rule.measure in DISTINCT_MEASURES else self._sums(at)
        if self._rule.exceptions:
            counted = np.where(counted >= self._limits(at, second), counted, 0.0)
        return Values(group + self._first, second, counted)

    def _sums(self, at: I64) -> F64:
        total = np.concatenate(([0], np.cumsum(self._summary.item[self._rows].astype(np.int64))))
        upto, before = (np.searchsorted(self._place, edge, "right") for edge in (at, at - self._rule.window))
        return (total[upto] - total[before]).astype(np.float64)

    def _distinct(self, at: I64) -> F64:
        """A member counts from its sighting until the window has passed or its next sighting takes over.

        Of those that are taken over, fewer than all as a rule, the end is moved: only they have to be sorted.
        """
        members = self._summary.item[self._rows] != 0
        begin = self._place[members]
        again = (self._base + self._grained(self._summary.again[self._rows]))[members]
        moved = again < begin + self._rule.window
        counted = np.searchsorted(begin, at, "right") - np.searchsorted(begin, at - self._rule.window, "right")
        counted += np.searchsorted(begin[moved], at - self._rule.window, "right")
        counted -= np.searchsorted(np.sort(again[moved]), at, "right")
        capped: F64 = np.minimum(counted, DISTINCT_CAP).astype(np.float64)
        return capped

    def _limits(self, at: I64, second: I64) -> F64:
        """The limit at every place where exceptions hold for all principals of the group in and around its bucket."""
        window, who = self._rule.window, self._summary.who[self._rows]
        bucket = at - second % window
        around = (bucket - window + 1, "left"), (bucket + window - 1, "right")
        first, end = (np.searchsorted(self._place, edge, side) for edge, side in around)  # type: ignore[call-overload]
        known = _within(who >= 0, first, end)
        limits = np.zeros(len(at))
        for exemption, matches in _matching(self._rule.exceptions, self._summary):
            strangers = _within((who >= 0) & ~np.append(matches, False)[who], first, end)
            held = (known > 0) & (strangers == 0) & (second < exemption.ends_at)
            limits[held] = np.maximum(limits[held], (exemption.allow_up_to or 0) + 1)
        return limits

    def _grained(self, second: I64) -> I64:
        grain = self._rule.granularity
        return second // grain * grain if grain > 1 else second


def _within(rows: Mask, first: Index, end: Index) -> I64:
    """How many of the rows lie from `first` to before `end`."""
    total = np.concatenate(([0], np.cumsum(rows)))
    found: I64 = total[end] - total[first]
    return found


def _matching(exceptions: Sequence[Exemption], summary: Summary) -> list[tuple[Exemption, Mask]]:
    """Every exception that raises the limit, and the principals it is for."""
    return [
        (one, np.fromiter(map(meant(one), summary.principals), np.bool_, len(summary.principals)))
        for one in exceptions
        if one.allow_up_to is not None
    ]


def episodes(crossing: Sequence[Values], window: int) -> Episodes:
    """The episodes of crossing seconds: runs with no gap over one window, cut where they grow too long."""
    return _joined(Episodes, [_episodes(block, window) for block in crossing if len(block)])


def _episodes(crossing: Values, window: int) -> Episodes:
    breaks = (np.diff(crossing.second) > window) | (np.diff(crossing.group) != 0)
    starts = _cut(crossing, np.flatnonzero(np.concatenate(([True], breaks))), longest_episode(window))
    last = np.append(starts[1:], len(crossing)) - 1
    return Episodes(
        crossing.group[starts],
        crossing.second[starts],
        crossing.second[last],
        np.maximum.reduceat(crossing.value, starts),
    )


def _joined(of: type[T], blocks: Sequence[T]) -> T:
    """Columns of blocks, one after the other."""
    names = [field.name for field in fields(of)]  # type: ignore[arg-type]
    if not blocks:
        return of(*(np.zeros(0, np.float64 if name in ("peak", "value") else np.int64) for name in names))
    return of(*(np.concatenate([getattr(one, name) for one in blocks]) for name in names))


def _cut(crossing: Values, starts: Index, longest: int) -> Index:
    """Where runs begin, and where those that last too long begin anew: of all of them the next part at a time."""
    second = crossing.second
    ends = np.append(starts[1:], len(second))
    every = [starts]
    long = second[ends - 1] - second[starts] >= longest
    starts, ends = starts[long], ends[long]
    stretch = int(second.max()) - int(second.min()) + longest + 1
    place = crossing.group * stretch + second
    while len(starts):
        starts = np.searchsorted(place, place[starts] + longest)
        every.append(starts)
        long = second[ends - 1] - second[starts] >= longest
        starts, ends = starts[long], ends[long]
    return np.sort(np.concatenate(every))


@dataclass(frozen=True, slots=True)
class Maxima:
    """The largest value of every group and UTC day on which it has a record. day: epoch days."""

    group: I64
    day: I64
    value: F64


def day_maxima(found: Sequence[Values]) -> Maxima:
    """Of these values."""
    return _joined(Maxima, [_day_maxima(block) for block in found if len(block)])


def _day_maxima(found: Values) -> Maxima:
    day = found.second // DAY
    starts = starts_of_runs(found.group, day)
    return Maxima(found.group[starts], day[starts], np.maximum.reduceat(found.value, starts))
