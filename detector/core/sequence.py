"""Watches one sequence rule: what is counted of each step → seconds in which all steps are done. Pure.

The steps are done in second t if there are seconds `t - within < s1 <= s2 <= … <= t` so that each step has its count
over the records from its own second to the next one's, both included. Looked at from the end: the latest second from
which on the last step has its count by t; the latest from which on the step before has its count by then; and so on.
More records never undo this. Crossing seconds are those of records of the last step in which all steps are done.

A second depends on nothing that comes after it. So at a poll only those seconds are looked at again that are not before
the first new record; and to look at a few of them, a step is read backward only as far as its count needs.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.core.access import I64, U64, Mask
from detector.core.chosen import in_order
from detector.core.counted import Counted
from detector.core.crossing import NONE, Crossing, CrossingWatch
from detector.core.episode import Tracked
from detector.core.finding import Finding
from detector.core.kinds.sequence import Step, told
from detector.core.part import Spilling
from detector.core.people import People
from detector.core.rule import DISTINCT_MEASURES, Sequence
from detector.core.runs import concat
from detector.core.screen import Screen
from detector.core.select import selector
from detector.core.tally import Pool, Tallies
from detector.core.threshold import who
from detector.core.times import duration, iso
from detector.core.view import BatchView
from detector.core.watermark import NEVER
from detector.core.window import starts_of_runs, unique_sorted

TOO_EARLY = np.int64(-(1 << 40))
"""Second from which on a step had its count if it never had."""
FEW = 32
"""Seconds that are looked at one by one."""
NEARBY, FARTHER = 16, 8
"""Seconds that are read backward at first; how many times as many each time that is not enough."""


class StepState(Counted):
    """What was counted of one step."""

    def __init__(self, name: str, step: Step, within: int) -> None:
        self.step = step
        self.selector = selector(step.where)
        self.distinct = step.measure in DISTINCT_MEASURES
        super().__init__(Tallies(name, distinct=self.distinct), Screen(within, distinct=self.distinct))

    def begins(self, group: int, first: int, last: int) -> tuple[I64, I64]:
        """The seconds with records of the step, and for each the latest from which on it had its count by then."""
        seconds, _, items = self.rows(group, first, last)
        if not self.distinct:
            at = unique_sorted(seconds)
            done = np.cumsum(np.bincount(np.searchsorted(at, seconds), items.astype(np.int64), len(at)))
            before = np.searchsorted(np.concatenate(([0.0], done)), done - self.step.count, "right") - 1
            return at, np.where(before >= 0, at[np.maximum(before, 0)], TOO_EARLY) if len(at) else at
        seconds, items = seconds[items != 0], items[items != 0]
        return unique_sorted(seconds), _distinct_begins(seconds, items, math.ceil(self.step.count))

    def since(self, group: int, ends: I64, first: int) -> I64:
        """Of each of these seconds the latest from which on the step had its count by then; `first`: nothing before."""
        every, place = np.unique(ends, return_inverse=True)
        if len(every) > FEW:
            at, since = self.begins(group, first, int(every[-1]))
            found = np.searchsorted(at, ends, "right") - 1
            return np.where(found >= 0, np.append(since, TOO_EARLY)[found], TOO_EARLY)
        return np.array([self._since(group, end, first) for end in every.tolist()], np.int64)[place]

    def _since(self, group: int, end: int, first: int) -> int:
        span = NEARBY
        while first <= end:
            low = max(first, end - span)
            seconds, _, items = self.rows(group, low, end)
            if (found := self._latest(seconds, items)) is not None:
                return found
            if low == first:
                break
            span *= FARTHER
        return int(TOO_EARLY)

    def _latest(self, seconds: I64, items: U64) -> int | None:
        """The latest second from which on these rows, by second, have the count; None if they have not."""
        if not self.distinct:
            behind = np.cumsum(items[::-1].astype(np.int64))
            place = int(np.searchsorted(behind, self.step.count))
            return int(seconds[-1 - place]) if place < len(behind) else None
        count = math.ceil(self.step.count)
        seconds, items = seconds[::-1], items[::-1]
        last = np.sort(np.unique(items, return_index=True)[1][int((items == 0).any()) :])
        return int(seconds[last[count - 1]]) if len(last) >= count else None


def _distinct_begins(seconds: I64, items: U64, count: int) -> I64:
    """Of each distinct second the latest from which on so many distinct items were seen by then. Sorted by second.

    What comes into a span of seconds are the items of its new last one that were not seen since its first; what leaves
    are those of its first that are not seen again by its last. Both are counted by looking them up, second by second.
    """
    at = unique_sorted(seconds)
    index, width = np.searchsorted(at, seconds), len(at) + 2
    before, after = _neighbours(index, items, len(at))
    came, gone = np.sort(index * width + before + 1).tolist(), np.sort(index * width + after).tolist()
    starts = np.searchsorted(index, np.arange(len(at) + 1)).tolist()
    out, left, inside = np.full(len(at), TOO_EARLY), 0, 0
    for right in range(len(at)):
        first, end = starts[right], starts[right + 1]
        inside += bisect_left(came, right * width + left + 1, first, end) - first
        if inside < count:
            continue
        while True:
            first, end = starts[left], starts[left + 1]
            leaving = end - bisect_right(gone, left * width + right, first, end)
            if inside - leaving < count:
                break
            inside, left = inside - leaving, left + 1
        out[right] = at[left]
    return out


def _neighbours(index: I64, items: U64, count: int) -> tuple[I64, I64]:
    """Of every row the second (by its number) in which its item was seen before, else -1; and next, else `count`."""
    order = np.argsort(items, kind="stable")
    again = np.flatnonzero(items[order[1:]] == items[order[:-1]])
    before, after = np.full(len(items), -1), np.full(len(items), count)
    before[order[again + 1]] = index[order[again]]
    after[order[again]] = index[order[again + 1]]
    return before, after


class SequenceWatch(CrossingWatch[Sequence]):
    """State of one sequence rule. gather, once: as in CrossingWatch."""

    def __init__(self, rule: Sequence, people: People, *, gather: bool, once: bool) -> None:
        self._steps = [
            StepState(f"step{number}/{rule.id}", step, rule.within) for number, step in enumerate(rule.steps)
        ]
        super().__init__(
            rule, people, [step.tallies for step in self._steps], gather=gather, once=once, cap=len(rule.steps)
        )
        self._fresh: dict[int, int] = {}

    def share(self, pool: Pool) -> None:
        """Hold what another rule counts just so together with it."""
        for step in self._steps if self.once and not self.rule.bound else ():
            step.share(pool, (step.step.where, step.step.measure), self.rule.grouping, self.people)

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Count the rows of a batch, step by step."""
        touched: list[tuple[U64, I64, I64]] = []
        counted = []
        for step in self._steps:
            rows = self.chosen.left(view.batch, view.rows(step.selector))
            if not len(rows):
                continue
            counted.append(rows)
            items = view.items(step.step.measure)
            for one in step.add(view, rows, self.rule.grouping, items):
                step.bounds.put(one)
                touched.append(one[:3])
        if touched:
            _, keys = view.groups(self.rule.grouping)
            warm, last = self._screen(*(np.concatenate(columns) for columns in zip(*touched, strict=True)))
            if len(warm):
                self.name_groups(warm, last, keys)
            self.note(view, in_order(counted, len(view.batch)), self.rule.grouping, warm, late)

    def _screen(self, group: U64, bucket: I64, second: I64) -> tuple[U64, I64]:
        """Note the pairs in which all steps may be done; the groups in which all but the last may, and until when.

        second: the first new one of each pair.
        """
        news = group, second
        group, bucket = np.concatenate([group, group]), np.concatenate([bucket, bucket + 1])
        *before, last = self._steps
        for step in before:
            may = step.bounds.bounds(group, bucket) >= step.step.count
            group, bucket = group[may], bucket[may]
        order = np.lexsort((bucket, group))
        order = order[starts_of_runs(group[order], bucket[order])]
        group, bucket = group[order], bucket[order]
        crossing = last.bounds.bounds(group, bucket) >= last.step.count
        self.consider(group[crossing], bucket[crossing])
        if not self.once:
            self._note_fresh(group[crossing], *news)
        starts = starts_of_runs(group)
        until = np.maximum.reduceat(bucket + 1, starts) * self.rule.within if len(starts) else bucket
        return group[starts], until

    def counted(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """What was counted of a group from second `first` to `last`: seconds, credentials, items, by second."""
        second, credentials, item = concat([step.rows(group, first, last) for step in self._steps])
        order = np.argsort(second, kind="stable")
        return second[order], credentials[order], item[order]

    def crossing(self, group: int, bucket: int) -> Crossing:
        """The seconds of one bucket in which all steps are done; their value is the number of steps."""
        within, first = self.rule.within, bucket * self.rule.within
        if any(step.bounds.bound(group, bucket) < step.step.count for step in self._steps):
            return NONE
        fresh = self._fresh.get(group, NEVER)
        at = self._last_step(group, max(first, fresh), first + within - 1)
        end = at
        for step in reversed(self._steps):
            end = step.since(group, end, first - within + 1)
        before, _ = self._crossings.get(group, {}).get(bucket, NONE)
        done = np.concatenate([before[before < fresh], at[end > at - within]])
        return done, np.full(len(done), float(len(self._steps)))

    def judge(self) -> list[Finding]:
        """Look closely at the groups that may have crossed; what there is to tell of them."""
        news = super().judge()
        self._fresh = {}
        return news

    def _note_fresh(self, considered: U64, group: U64, second: I64) -> None:
        """Of groups that are to be looked at the first second of which anything is new."""
        mine = np.isin(group, considered)
        for one, at in zip(group[mine].tolist(), second[mine].tolist(), strict=True):
            self._fresh[one] = min(at, self._fresh.get(one, at))

    def _last_step(self, group: int, first: int, last: int) -> I64:
        """The seconds with records of the last step."""
        step = self._steps[-1]
        seconds, _, items = step.rows(group, first, last)
        return unique_sorted(seconds[items != 0] if step.distinct else seconds)

    def forget_counted(self, oldest: int) -> bool:
        """Let go of what was counted before; whether there was any."""
        gone = [step.forget_before(oldest) for step in self._steps]
        return any(gone)

    def is_warm(self, group: int, second: int) -> bool:
        """Whether all steps but the last may be done at this second or later."""
        bucket = second // self.rule.within
        return any(
            all(step.bounds.bound(group, b) >= step.step.count for step in self._steps[:-1])
            for b in (bucket, bucket + 1)
        )

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [*(one for step in self._steps for one in step.spilling()), *super().spilling()]

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        for step in self._steps:
            step.tallies.restore(parts, step.bounds.add)
        super().resume(parts, state)

    def reconsider(self) -> None:
        """Exceptions of a sequence are part of what it counts: with others it begins anew."""

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """The time, evidence so far, when each step was done, and what happened in a sentence."""
        rule, opened = self.rule, tracked.episode.opened_at
        begins = [step.begins(group, opened - rule.within + 1, opened) for step in self._steps]
        since = _back(begins, np.array([opened]))[:, 0].tolist()
        until = [*since[1:], opened]
        steps = [
            {"step": told(step), "from": iso(first), "to": iso(int(_last(at, last)))}
            for step, (at, _), first, last in zip(rule.steps, begins, since, until, strict=True)
        ]
        what = ", then ".join(f"{one['step']} (from {one['from']} to {one['to']})" for one in steps)
        return {
            "window_seconds": rule.within,
            "peak_value": len(rule.steps),
            "explanation": f"{who(shown)}: {what}, within {duration(rule.within)}.",
            "evidence": self.evidence_of(group, tracked),
            "details": {"sequence": steps},
        }


def _back(begins: list[tuple[I64, I64]], at: I64) -> Any:
    """From each second backward, step by step: the latest second from which on each step and all after it are done."""
    out, end = [], at
    for seconds, since in reversed(begins):
        place = np.searchsorted(seconds, end, "right") - 1
        end = np.where(place >= 0, np.append(since, TOO_EARLY)[place], TOO_EARLY)
        out.append(end)
    return np.array(out[::-1])


def _last(seconds: I64, until: int) -> int:
    """The last of these seconds that is not later."""
    return int(seconds[np.searchsorted(seconds, until, "right") - 1])
