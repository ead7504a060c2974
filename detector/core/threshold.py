"""Watches one rule that counts: tallies → values → crossing seconds. Pure.

Kinds `threshold`, `match` and `scope`: they differ in which records count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.counted import Counted
from detector.core.crossing import Crossing, CrossingWatch
from detector.core.curve import Curve, around, curve
from detector.core.episode import Tracked
from detector.core.finding import Finding
from detector.core.groupings import GroupKey
from detector.core.part import Spilling
from detector.core.people import People
from detector.core.rule import DISTINCT_CAP, DecoyRule, FirstSeen, Match, Received, Scope, Threshold, Unaudited
from detector.core.screen import Screen, Touched
from detector.core.tally import SEGMENT, Pool, Tallies
from detector.core.times import duration, iso
from detector.core.view import BatchView
from detector.core.watch import Stored
from detector.core.watermark import FOREVER, NEVER
from detector.core.window import F64, distinct_at, starts_of_runs, sums_at, unique_sorted

WARM = 4
"""Evidence is gathered from the moment a group may have passed this fraction (a quarter) of its threshold."""

W = TypeVar("W", bound=Threshold | Match | Scope | FirstSeen | DecoyRule | Unaudited | Received)


class CountingWatch(CrossingWatch[W]):
    """State of one rule that counts its measure. gather, once: as in CrossingWatch."""

    shares: ClassVar[bool] = False
    """Whether what it counts is what its rule's `where` and exceptions say, and nothing else."""

    def __init__(
        self, rule: W, people: People, stored: Sequence[Stored] = (), *, gather: bool = False, once: bool = False
    ) -> None:
        self._distinct = rule.distinct
        few = self._distinct and rule.measure != "objects"
        bounds = Screen(rule.window, distinct=self._distinct, few=few)
        self._counted = Counted(Tallies(f"tally/{rule.id}", distinct=self._distinct), bounds)
        cap = DISTINCT_CAP if self._distinct else math.inf
        super().__init__(rule, people, [self._counted.tallies, *stored], gather=gather, once=once, cap=cap)

    def share(self, pool: Pool) -> None:
        """Hold what another rule counts just so together with it."""
        if self.once and self.shares and not self.rule.bound:
            rule = self.rule
            self._counted.share(pool, (rule.where, rule.measure), rule.grouping, self.people, rule.granularity)

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Count the rows of a batch that the rule is about."""
        rows = self.chosen.rows(view)
        if len(rows):
            self.count(view, rows, self.rule.grouping, late)

    def count(self, view: BatchView, rows: Index, levels: GroupKey, late: Mask) -> None:
        """Count these rows by their groups at these levels."""
        every = self._counted.add(view, rows, levels, self.items(view), self.rule.granularity)
        _, keys = view.groups(levels)
        warm = np.concatenate([np.zeros(0, np.uint64), *(self._screen(touched, keys) for touched in every)])
        self.note(view, rows, levels, warm, late)

    def items(self, view: BatchView) -> U64:
        """What is counted of every row of a batch."""
        return view.items(self.rule.measure)

    def counted(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """What was counted of a group from second `first` to `last`: seconds, credentials, items, by second."""
        return self._counted.rows(group, first, last)

    def may_cross(self, groups: U64, buckets: I64) -> Mask:
        """Which of these groups, in order, are worth a close look in a bucket: all that cross in it are among them."""
        near: Mask = self._counted.bounds.bounds(groups, buckets) >= self.rule.threshold
        return near

    def crossing(self, group: int, bucket: int) -> Crossing:
        """The crossing seconds of one bucket, worked out anew, and the values there."""
        window, first = self.rule.window, bucket * self.rule.window
        seconds, who, items = self.counted(group, first - window + 1, first + window - 1)
        at = unique_sorted(seconds[seconds >= first])
        values = self._values(seconds, items, at)
        capped = np.minimum(values, self.cap)
        crossed = capped >= self.rule.threshold
        if crossed.any():
            crossed = capped >= self.limits(at, who)
        return at[crossed], values[crossed]

    def curve(self, finding: Finding) -> Curve:
        """How the value behind one of its findings went."""
        window = self.rule.window
        first, last = around(finding.opened_at, finding.last_at, window)
        grain = self.rule.granularity
        seconds, _, items = self.counted(finding.group_id, first - window - grain, last)
        values = partial(self._values, seconds, items)
        return curve(seconds, lambda at: np.minimum(values(at), self.cap), first, last, grain)

    def forget_counted(self, oldest: int) -> bool:
        """Let go of what was counted before; whether there was any."""
        return self._counted.forget_before(oldest)

    def is_warm(self, group: int, second: int) -> bool:
        """Whether a group may pass a quarter of its threshold from this second on."""
        bucket, bounds = second // self.rule.window, self._counted.bounds
        return max(bounds.bound(group, b) for b in range(bucket, bucket + 2)) * WARM >= self.rule.threshold

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [*self._counted.spilling(), *super().spilling()]

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        self._counted.tallies.restore(parts, self._counted.bounds.add)
        super().resume(parts, state)

    def reconsider(self) -> None:
        """Look at everything that was counted again."""
        self.consider_span(NEVER, FOREVER)

    def consider_span(self, first: int, last: int, among: U64 | None = None) -> U64:
        """Look again at what was counted from second `first` to `last`, of these groups or of all; the groups.

        What memory has let go of in part is left as it was told.
        """
        groups, first = [np.zeros(0, np.uint64)], max(first, self.whole)
        if among is not None and not len(among):
            return groups[0]
        for part in self._counted.tallies.parts(first // SEGMENT, last // SEGMENT):
            group, second, *_ = part.whole()
            inside = (second >= first) & (second <= last)
            if among is not None:
                inside &= np.isin(group, among)
            group, bucket = group[inside], second[inside] // self.rule.window
            starts = starts_of_runs(group, bucket)
            self.consider(group[starts], bucket[starts])
            groups.append(group[starts])
        return np.unique(np.concatenate(groups))

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """The window, the peak as a whole number, evidence so far, and what happened in a sentence."""
        peak = int(tracked.episode.peak_value)
        return {
            "window_seconds": self.rule.window,
            "peak_value": peak,
            "explanation": self.sentence(shown, tracked, peak),
            "evidence": self.evidence_of(group, tracked),
        }

    def sentence(self, shown: Mapping[str, str], tracked: Tracked, peak: int) -> str:
        """What happened."""
        rule, episode = self.rule, tracked.episode
        return (
            f"{who(shown)}: {peak:,} {counted(rule.measure)} within {duration(rule.window)} at the peak, "
            f"threshold {rule.threshold:,}; at or above it from {iso(episode.opened_at)} to {iso(episode.last_at)}."
        )

    def _screen(self, touched: Touched, keys: Mapping[int, GroupKey]) -> U64:
        """Note the pairs that may hold a crossing; the groups of which evidence is worth gathering."""
        group, bucket, bound = touched.groups, touched.buckets, self._counted.bounds.put(touched)
        near = bound * WARM >= self.rule.threshold
        starts = starts_of_runs(group[near])
        warm = group[near][starts]
        if len(warm):
            self.name_groups(warm, np.maximum.reduceat(bucket[near] + 1, starts) * self.rule.window, keys)
        crossing = bound >= self.rule.threshold
        if crossing.any():
            self.consider(group[crossing], bucket[crossing])
        return warm

    def _values(self, seconds: I64, items: U64, at: I64) -> F64:
        """What was counted in the windows that end at these seconds, past the cap, too."""
        if self._distinct:
            members = items != 0  # a record without an address, an object … is a matching record, but no member
            return distinct_at(seconds[members], items[members], at, self.rule.window).astype(np.float64)
        return sums_at(seconds, items.astype(np.int64), at, self.rule.window).astype(np.float64)


class ThresholdWatch(CountingWatch[Threshold]):
    """State of one threshold rule."""

    shares = True


class MatchWatch(CountingWatch[Match]):
    """State of one match rule: every record that it counts crosses."""

    shares = True

    def sentence(self, shown: Mapping[str, str], tracked: Tracked, peak: int) -> str:
        """What happened."""
        episode = tracked.episode
        times = (
            f"at {iso(episode.opened_at)}"
            if episode.opened_at == episode.last_at
            else (
                f"from {iso(episode.opened_at)} to {iso(episode.last_at)}, at most {duration(self.rule.window)} apart"
            )
        )
        return f"{who(shown)}: {peak:,} such record{'s' if peak > 1 else ''} {times}."


class ScopeWatch(CountingWatch[Scope]):
    """State of one scope rule: it counts what the name of whoever asks does not entitle him to."""

    def sentence(self, shown: Mapping[str, str], tracked: Tracked, peak: int) -> str:
        """What happened."""
        return f"outside of what the name allows: {super().sentence(shown, tracked, peak)}"


NOUNS = {"requests": "requests", "bytes": "bytes", "objects": "distinct objects"}


def counted(measure: str) -> str:
    """What a measure counts, in words."""
    return NOUNS.get(measure, f"distinct {measure}")


def who(group: Mapping[str, str]) -> str:
    """A group, in words."""
    return ", ".join(f"{level} {name}" for level, name in group.items())
