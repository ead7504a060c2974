"""Watches one threshold rule: tallies → values → crossing seconds → episodes → findings. Pure.

`absorb` counts a batch and remembers which (group, bucket) pairs might hold a crossing; `judge` looks at those closely.
The daemon judges after every poll, replay once at the end: the answer is the same, because tallies only add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detector.core.access import I64, U64, Mask
from detector.core.episode import Tracked
from detector.core.evidence import Slices
from detector.core.finding import Finding
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.principal import Principal
from detector.core.rule import DISTINCT_CAP, DISTINCT_MEASURES, DecoyRule, Exemption, Threshold
from detector.core.screen import Screen
from detector.core.select import PRINCIPAL_FIELDS, glob
from detector.core.sighting import Sightings, Texts
from detector.core.tally import Tallies
from detector.core.times import duration, iso
from detector.core.view import NO_GROUP, BatchView, GroupKey
from detector.core.watch import EpisodeWatch
from detector.core.window import F64, distinct_at, episodes, longest_episode, starts_of_runs, sums_at, unique_sorted

WARM = 4
"""Evidence is gathered from the moment a group may have passed this fraction (a quarter) of its threshold."""
HOUR = 3600
SLICES = 10
"""Evidence of an open finding is exact to a tenth of its window at either end."""
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(list[str]).decode


Counted = Threshold | DecoyRule
"""Kinds of rules that count so."""


class ThresholdWatch(EpisodeWatch[Counted]):
    """State of one threshold rule.

    gather: collect evidence while counting (the daemon; replay has a second pass). once: it is judged once, at the end
    (replay), so that nothing need be kept of a group that has been judged.
    """

    def __init__(self, rule: Counted, people: People, *, gather: bool = False, once: bool = False) -> None:
        self.gather, self.once = gather, once
        self._distinct = rule.measure in DISTINCT_MEASURES
        self._cap = DISTINCT_CAP if self._distinct else math.inf
        self._tallies = Tallies(f"tally/{rule.id}", distinct=self._distinct)
        self._keys = Texts(f"keys/{rule.id}", people.slack)
        super().__init__(rule, people, [self._tallies, self._keys.rows])
        self._bounds = Screen(rule.window, distinct=self._distinct)
        self._candidates = Sightings(f"candidates/{rule.id}")
        self._crossings: dict[int, dict[int, tuple[I64, F64]]] = {}
        self._evidence: dict[int, Slices] = {}
        self._slice = max(1, rule.window // SLICES)
        self._late: set[int] = set()
        self._newest = 0
        self._exemptions = _exemptions(rule)

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Count the rows of a batch that the rule is about."""
        rows = np.flatnonzero(self.selector.mask(view.batch))
        if not len(rows):
            return
        groups, keys = view.groups(self.rule.group_by)
        rows = rows[groups[rows] != NO_GROUP]
        group = groups[rows]
        second = view.time[rows] // self.rule.granularity * self.rule.granularity
        runs = self._tallies.add(group, second, view.who()[rows], view.items(self.rule.measure)[rows])
        warm = np.concatenate([np.zeros(0, np.uint64), *(self._screen(run, keys) for run in runs)])
        if late[rows].any():
            self._late.update(np.unique(group[late[rows]]).tolist())
        if self.gather:
            mine = np.isin(group, np.append(warm, np.fromiter(self._evidence, np.uint64)))
            if mine.any():
                self._gather(view, rows[mine], group[mine])

    def judge(self) -> list[Finding]:
        """Look closely at the groups that may have crossed; what there is to tell of them."""
        news = []
        for groups, buckets, *_ in self._candidates.taken():
            edges = [*starts_of_runs(groups).tolist(), len(groups)]
            for first, end in pairwise(edges):
                news += self._judge(int(groups[first]), buckets[first:end].tolist())
        self._late = set()
        self._let_evidence_go()
        return news

    def _judge(self, group: int, buckets: list[int]) -> list[Finding]:
        """Look closely at these buckets of a group; what there is to tell of it."""
        if not sum(self._evaluate(group, bucket) for bucket in buckets):
            return []
        self.changed = True
        crossed, values = self._crossings_of(group)
        every = episodes(crossed, values, self.rule.window, longest_episode(self.rule.window), self._cap)
        told = self.settle(group, every, late=group in self._late)
        if self.once:
            self._crossings.pop(group, None)
        return told

    def advance(self, watermark: int) -> list[Finding]:
        """Close the episodes that the watermark has passed by one window."""
        return self.close(watermark - self.rule.window - self.rule.granularity + 1)

    def take(self, rule: Counted) -> None:
        """From now on the rule is worded so, or has these exceptions; it counts what it counted."""
        excepted = rule.exceptions_digest() != self.rule.exceptions_digest()
        super().take(rule)
        self._exemptions = _exemptions(rule)
        if excepted:
            self._reconsider()
            self.changed = True

    def forget_before(self, second: int) -> None:
        """Let go of everything that only records before this second could change."""
        oldest = second - self.rule.reach
        if not self._tallies.forget_before(oldest):
            return
        self._bounds.forget_before(oldest)
        self.changed = True
        self.ledger.forget_before(oldest)
        for group in list(self._crossings):
            self._forget_crossings(group, oldest)
        self._keys.forget_before(oldest // HOUR)
        self._evidence = {
            group: slices
            for group, slices in self._evidence.items()
            if self.ledger.is_open(group) or self._bound_since(group, second) * WARM >= self.rule.threshold
        }

    def _forget_crossings(self, group: int, oldest: int) -> None:
        """What the ledger has let go must not be found again: seconds before `oldest` and before what it still has."""
        kept = self.ledger.groups.get(group, ())
        first = min([oldest, *(tracked.episode.opened_at for tracked in kept)])
        lasting = {}
        for bucket, (at, values) in self._crossings.pop(group).items():
            late = at >= first
            if late.any():
                lasting[bucket] = at[late], values[late]
        if lasting and kept:
            self._crossings[group] = lasting

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._tallies, self._bounds, self._keys.rows, self._candidates]

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint, beside digest, ledger and tallies."""
        return {
            "exceptions": self.rule.exceptions_digest(),
            "newest": self._newest,
            "evidence": [(group, e.snapshot()) for group, e in self._evidence.items()],
            "crossings": [
                (group, bucket, at.tobytes(), values.tobytes())
                for group, buckets in self._crossings.items()
                for bucket, (at, values) in buckets.items()
            ],
        }

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped; if exceptions have changed since, everything is looked at again."""
        self._tallies.restore(parts, self._bounds.add)
        self._keys.rows.restore(parts)
        self._newest = state["newest"]
        self._evidence = {group: Slices.restore(self._slice, e) for group, e in state["evidence"]}
        for group, bucket, at, values in state["crossings"]:
            crossing = np.frombuffer(at, np.int64), np.frombuffer(values, np.float64)
            self._crossings.setdefault(group, {})[bucket] = crossing
        if state["exceptions"] != self.rule.exceptions_digest():
            self._reconsider()

    def _screen(self, run: Run, keys: Mapping[int, GroupKey]) -> U64:
        """Note the pairs that may hold a crossing; the groups of which evidence is worth gathering."""
        group, bucket, bound = self._bounds.add(run)
        near = bound * WARM >= self.rule.threshold
        starts = starts_of_runs(group[near])
        warm = group[near][starts]
        if len(warm):
            last = np.maximum.reduceat(bucket[near] + 1, starts) * self.rule.window
            self._keys.put(warm, last // HOUR, lambda new: [_ENCODE(keys[group]) for group in warm[new].tolist()])
        crossing = bound >= self.rule.threshold
        if crossing.any():
            self._consider(group[crossing], bucket[crossing])
        return warm

    def _consider(self, group: U64, bucket: I64) -> None:
        """A value of these groups may be at or above the threshold in these buckets and in those after them."""
        buckets = np.concatenate([bucket, bucket + 1]).astype(np.uint64)
        self._candidates.add(np.concatenate([group, group]), buckets, np.zeros(len(buckets), np.int64))

    def _reconsider(self) -> None:
        """Look at everything again."""
        for part in self._tallies.all_parts():
            run = part.whole()
            starts = starts_of_runs(run[0], run[1] // self.rule.window)
            self._consider(run[0][starts], run[1][starts] // self.rule.window)
        for group, buckets in self._crossings.items():
            self._consider(np.full(len(buckets), group, np.uint64), np.fromiter(buckets, np.int64))

    def _gather(self, view: BatchView, rows: npt.NDArray[np.intp], group: U64) -> None:
        for one in np.unique(group).tolist():
            slices = self._evidence.setdefault(one, Slices(self._slice))
            slices.add(view.batch, rows[group == one])
        self._newest = max(self._newest, int(view.time[rows].max(initial=0)))
        self.changed = True

    def _let_evidence_go(self) -> None:
        """After judging: of groups with nothing open only what may still belong to an opening is worth keeping."""
        for group, slices in list(self._evidence.items()):
            if not self.ledger.is_open(group):
                slices.forget_before(self._newest - 2 * self.rule.window)
                if not slices:
                    del self._evidence[group]

    def _evaluate(self, group: int, bucket: int) -> bool:
        """Work out the crossing seconds of one bucket anew; whether there are or were any."""
        window, first = self.rule.window, bucket * self.rule.window
        had = self._crossings.get(group, {}).pop(bucket, None)
        if self._bounds.bound(group, bucket) < self.rule.threshold:
            return had is not None
        seconds, who, items = self._tallies.rows(group, first - window + 1, first + window - 1)
        at = unique_sorted(seconds[seconds >= first])
        values = self._values(seconds, items, at)
        capped = np.minimum(values, self._cap)
        crossed = capped >= self.rule.threshold
        if self._exemptions and crossed.any():
            crossed = capped >= self._limits(at, who)
        if crossed.any():
            self._crossings.setdefault(group, {})[bucket] = (at[crossed], values[crossed])
        return had is not None or bool(crossed.any())

    def _values(self, seconds: I64, items: U64, at: I64) -> F64:
        """What was counted in the windows that end at these seconds, past the cap, too."""
        if self._distinct:
            members = items != 0  # a record without an address, an object … is a matching record, but no member
            return distinct_at(seconds[members], items[members], at, self.rule.window).astype(np.float64)
        return sums_at(seconds, items.astype(np.int64), at, self.rule.window).astype(np.float64)

    def _limits(self, at: I64, who: U64) -> F64:
        """The threshold at every second, raised where an exception holds for all principals of the group."""
        limits = np.full(len(at), float(self.rule.threshold))
        principals = self.people.of(np.unique(who).tolist())
        for exemption, matches in self._exemptions:
            if principals and all(matches(p) for p in principals):
                held = at < exemption.ends_at
                limits[held] = np.maximum(limits[held], exemption.allow_up_to + 1)
        return limits

    def _crossings_of(self, group: int) -> tuple[I64, F64]:
        buckets = [pair for _, pair in sorted(self._crossings.get(group, {}).items())]
        if not buckets:
            return np.zeros(0, np.int64), np.zeros(0, np.float64)
        return np.concatenate([at for at, _ in buckets]), np.concatenate([values for _, values in buckets])

    def _bound_since(self, group: int, second: int) -> int:
        bucket = second // self.rule.window
        return max(self._bounds.bound(group, b) for b in range(bucket, bucket + 2))

    def key(self, group: int) -> GroupKey:
        """One text a level."""
        return tuple(_DECODE(self._keys.of(np.array([group], np.uint64))[group]))

    def people_of(self, group: int, tracked: Tracked) -> list[Principal]:
        """The credentials that were counted in an episode."""
        episode = tracked.episode
        _, who, _ = self._tallies.rows(group, episode.opened_at - self.rule.window + 1, episode.last_at)
        return self.people.of(np.unique(who).tolist())

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """The window, the peak as a whole number, evidence so far, and what happened in a sentence."""
        rule, episode = self.rule, tracked.episode
        slices = self._evidence.get(group)
        evidence = slices.between(episode.opened_at - rule.window, episode.last_at) if slices else None
        peak = int(episode.peak_value)
        return {
            "window_seconds": rule.window,
            "peak_value": peak,
            "explanation": _explain(rule, shown, episode.opened_at, episode.last_at, peak),
            "evidence": evidence.to_json(partial=True) if evidence else {},
        }


NOUNS = {"requests": "requests", "bytes": "bytes", "objects": "distinct objects"}


def _explain(rule: Counted, group: Mapping[str, str], opened_at: int, last_at: int, peak: int) -> str:
    who = ", ".join(f"{level} {name}" for level, name in group.items())
    what = NOUNS.get(rule.measure, f"distinct {rule.measure}")
    return (
        f"{who}: {peak:,} {what} within {duration(rule.window)} at the peak, threshold {rule.threshold:,}; "
        f"at or above it from {iso(opened_at)} to {iso(last_at)}."
    )


def _exemptions(rule: Counted) -> list[tuple[Exemption, Any]]:
    return [(exemption, exemption_matcher(exemption)) for exemption in rule.exceptions]


def exemption_matcher(exemption: Exemption) -> Any:
    """Whether all that an exception names holds for a principal."""
    wanted = [
        (PRINCIPAL_FIELDS[name], glob(patterns))
        for name in ("session", "role", "account", "session_name")
        if (patterns := getattr(exemption, name)) is not None
    ]

    def matches(principal: Principal) -> bool:
        return all(any(t is not None and e.fullmatch(t) for t in texts(principal)) for texts, e in wanted)

    return matches
