"""What the watches share whose findings are runs of crossing seconds: candidates → crossings → episodes. Pure.

`absorb` counts a batch and remembers which (group, bucket) pairs might hold a crossing; `judge` looks at those closely.
The daemon judges after every poll, replay once at the end: the answer is the same, because what is counted adds up in
any order. Time is cut into buckets of one window.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.chosen import Chosen, meant
from detector.core.episode import Tracked
from detector.core.evidence import Slices
from detector.core.finding import Finding
from detector.core.groupings import GroupKey
from detector.core.part import Spilling
from detector.core.people import People
from detector.core.principal import Principal
from detector.core.rule import WindowedRule
from detector.core.sighting import Sightings, Texts
from detector.core.view import BatchView
from detector.core.watch import EpisodeWatch, Stored, decoded, encoded
from detector.core.watermark import NEVER
from detector.core.window import F64, episodes, longest_episode, starts_of_runs

HOUR = 3600
SLICES = 10
"""Evidence of an open finding is exact to a tenth of its window at either end."""

W = TypeVar("W", bound=WindowedRule)
Crossing = tuple[I64, F64]
NONE: Crossing = (np.zeros(0, np.int64), np.zeros(0, np.float64))


class CrossingWatch(EpisodeWatch[W]):
    """State of one rule that counts in a window.

    gather: collect evidence while counting (the daemon; replay has a second pass). once: it is judged once, at the end
    (replay), so that nothing need be kept of a group that has been judged, and nothing told but how it ended. cap:
    values past it are told as the cap.
    """

    def __init__(
        self, rule: W, people: People, stored: Sequence[Stored], *, gather: bool, once: bool, cap: float
    ) -> None:
        self._keys = Texts(f"keys/{rule.id}", people.slack)
        super().__init__(rule, people, [*stored, self._keys])
        self.gather, self.once, self.cap = gather, once, cap
        self._candidates = Sightings(f"candidates/{rule.id}")
        self._crossings: dict[int, dict[int, Crossing]] = {}
        self._evidence: dict[int, Slices] = {}
        self._slice = max(1, rule.window // SLICES)
        self._late: set[int] = set()
        self._newest = 0
        self._kept = NEVER
        self._exemptions = _raising(rule)

    @abstractmethod
    def crossing(self, group: int, bucket: int) -> Crossing:
        """The crossing seconds of one bucket, worked out anew, and the values there."""

    @abstractmethod
    def counted(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """What was counted of a group from second `first` to `last`: seconds, credentials, items, by second."""

    @abstractmethod
    def reconsider(self) -> None:
        """Look at everything that was counted again."""

    @abstractmethod
    def forget_counted(self, oldest: int) -> bool:
        """Let go of what was counted before; whether there was any."""

    @abstractmethod
    def is_warm(self, group: int, second: int) -> bool:
        """Whether evidence of a group is worth keeping from this second on."""

    def may_cross(self, groups: U64, buckets: I64) -> Mask:  # noqa: ARG002  for kinds that can tell
        """Which of these groups, in order, are worth a close look in a bucket: all that cross in it are among them."""
        return np.ones(len(groups), np.bool_)

    def judge(self) -> list[Finding]:
        """Look closely at the groups that may have crossed; what there is to tell of them."""
        news = []
        for groups, buckets, *_ in self._candidates.taken():
            near = self.may_cross(groups, buckets.astype(np.int64)) | np.isin(groups, [*self._crossings])
            group, bucket = groups[near], buckets[near]
            edges = [*starts_of_runs(group).tolist(), len(group)]
            for first, end in pairwise(edges):
                news += self._judge(int(group[first]), bucket[first:end].tolist())
        self._late = set()
        self._let_evidence_go()
        return news

    def _judge(self, group: int, buckets: list[int]) -> list[Finding]:
        """Look closely at these buckets of a group; what there is to tell of it."""
        if not sum(self._evaluate(group, bucket) for bucket in buckets):
            return []
        self.changed = True
        crossed, values = self._crossings_of(group)
        every = episodes(crossed, values, self.rule.window, longest_episode(self.rule.window), self.cap)
        told = self.settle(group, every, late=group in self._late, silent=self.once)
        if self.once:
            self._crossings.pop(group, None)
        return told

    def _evaluate(self, group: int, bucket: int) -> bool:
        """Work out the crossing seconds of one bucket anew; whether there are or were any."""
        at, values = self.crossing(group, bucket)
        had = self._crossings.get(group, {}).pop(bucket, None)
        if len(at):
            self._crossings.setdefault(group, {})[bucket] = (at, values)
        return had is not None or bool(len(at))

    def advance(self, watermark: int) -> list[Finding]:
        """Close the episodes that the watermark has passed by one window."""
        return self.close(watermark - self.rule.window - self.rule.granularity + 1)

    def take(self, rule: W) -> None:
        """From now on the rule is worded so, or has these exceptions; it counts what it counted."""
        excepted = rule.exceptions_digest() != self.rule.exceptions_digest()
        super().take(rule)
        self.chosen, self._exemptions = Chosen(rule), _raising(rule)
        if excepted:
            self._look_again()
            self.changed = True

    def forget_before(self, second: int) -> None:
        """Let go of everything that only records before this second could change."""
        oldest = self.oldest(second)
        if not self.forget_counted(oldest):
            return
        self._kept, self.changed = oldest, True
        self.ledger.forget_before(oldest)
        for group in list(self._crossings):
            self._forget_crossings(group, oldest)
        self._keys.forget_before(oldest // HOUR)
        warm = [group for group in self._evidence if self.ledger.is_open(group) or self.is_warm(group, second)]
        self._evidence = {group: self._evidence[group] for group in warm}
        for group, slices in self._evidence.items():
            slices.forget_before(self._kept_from(group, oldest) - self.rule.window)

    def oldest(self, second: int) -> int:
        """From when on it keeps what records from a second on may change: a full hour, as tallies go by hours."""
        return (second - self.rule.reach) // HOUR * HOUR

    @property
    def whole(self) -> int:
        """First second of which, and of those in its bucket, all is kept that their values are made of."""
        return self._kept + 2 * self.rule.window

    def _forget_crossings(self, group: int, oldest: int) -> None:
        """What the ledger has let go must not be found again: seconds before `oldest` and before what it still has."""
        first, lasting = self._kept_from(group, oldest), {}
        for bucket, (at, values) in self._crossings.pop(group).items():
            late = at >= first
            if late.any():
                lasting[bucket] = at[late], values[late]
        if lasting and group in self.ledger.groups:
            self._crossings[group] = lasting

    def _kept_from(self, group: int, oldest: int) -> int:
        """The first second that is kept of a group: `oldest`, or where what the ledger still has of it opened."""
        return min([oldest, *(tracked.episode.opened_at for tracked in self.ledger.groups.get(group, ()))])

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._keys, self._candidates]

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint, beside digest, ledger and what is stored."""
        return {
            "exceptions": self.rule.exceptions_digest(),
            "newest": self._newest,
            "kept": self._kept,
            "evidence": [(group, e.snapshot()) for group, e in self._evidence.items()],
            "crossings": [
                (group, bucket, at.tobytes(), values.tobytes())
                for group, buckets in self._crossings.items()
                for bucket, (at, values) in buckets.items()
            ],
        }

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped; if exceptions have changed since, everything is looked at again."""
        self._keys.restore(parts)
        self._newest, self._kept = state["newest"], state.get("kept", NEVER)
        self._evidence = {group: Slices.restore(self._slice, e) for group, e in state["evidence"]}
        for group, bucket, at, values in state["crossings"]:
            crossing = np.frombuffer(at, np.int64), np.frombuffer(values, np.float64)
            self._crossings.setdefault(group, {})[bucket] = crossing
        if state["exceptions"] != self.rule.exceptions_digest():
            self._look_again()

    def name_groups(self, groups: U64, last: I64, keys: Mapping[int, GroupKey]) -> None:
        """Remember the keys of these distinct groups. last: the second each was seen last."""
        self._keys.put(groups, last // HOUR, lambda new: [encoded(keys[group]) for group in groups[new].tolist()])

    def is_named(self, group: int) -> bool:
        """Whether its key is known. A group that never came near its threshold has none, and has not crossed it."""
        return group in self._keys.of(np.array([group], np.uint64))

    def key(self, group: int) -> GroupKey:
        """One text a level."""
        return decoded(self._keys, group)

    def people_of(self, group: int, tracked: Tracked) -> list[Principal]:
        """The credentials that were counted in an episode."""
        episode = tracked.episode
        _, who, _ = self.counted(group, episode.opened_at - self.rule.window + 1, episode.last_at)
        return self.people.of(np.unique(who).tolist())

    def consider(self, group: U64, bucket: I64) -> None:
        """A value of these groups may be at or above the threshold in these buckets and in those after them."""
        group, bucket = np.concatenate([group, group]), np.concatenate([bucket, bucket + 1])
        self._candidates.add(group, bucket.astype(np.uint64), np.zeros(len(bucket), np.int64))

    def note(self, view: BatchView, rows: Index, levels: GroupKey, warm: U64, late: Mask) -> None:
        """Of rows that were counted: which groups had late ones, and evidence of the warm groups."""
        some_late = bool(late[rows].any())
        if not (some_late or self.gather):
            return
        rows = view.of_groups(rows, levels)
        group = view.groups(levels)[0][rows]
        if some_late:
            self._late.update(np.unique(group[late[rows]]).tolist())
        if self.gather:
            mine = np.isin(group, np.append(warm, np.fromiter(self._evidence, np.uint64)))
            if mine.any():
                self._gather(view, rows[mine], group[mine])

    def limits(self, at: I64, who: U64) -> F64:
        """The threshold at every second, raised where an exception holds for all principals of the group."""
        limits = np.full(len(at), float(self.rule.threshold))
        principals = self.people.of(np.unique(who).tolist()) if self._exemptions else []
        for exemption, matches in self._exemptions:
            if principals and all(matches(p) for p in principals):
                held = at < exemption.ends_at
                limits[held] = np.maximum(limits[held], exemption.allow_up_to + 1)
        return limits

    def evidence_of(self, group: int, tracked: Tracked) -> dict[str, Any]:
        """What was gathered so far of the records behind an episode."""
        slices, episode = self._evidence.get(group), tracked.episode
        if slices is None:
            return {}
        return slices.between(episode.opened_at - self.rule.window, episode.last_at).to_json(partial=True)

    def _gather(self, view: BatchView, rows: Index, group: U64) -> None:
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

    def _look_again(self) -> None:
        self.reconsider()
        for group, buckets in self._crossings.items():
            bucket = np.array([one for one in buckets if one >= self.whole // self.rule.window], np.int64)
            self.consider(np.full(len(bucket), group, np.uint64), bucket)

    def _crossings_of(self, group: int) -> Crossing:
        buckets = [pair for _, pair in sorted(self._crossings.get(group, {}).items())]
        if not buckets:
            return NONE
        return np.concatenate([at for at, _ in buckets]), np.concatenate([values for _, values in buckets])


def _raising(rule: WindowedRule) -> list[tuple[Any, Any]]:
    """The exceptions that raise the limit, each with whom it is for."""
    return [(one, meant(one)) for one in rule.exceptions if one.allow_up_to is not None]
