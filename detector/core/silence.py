"""Watches one silence rule: records → stretches without a long gap → the gaps between them, and after the last. Pure.

A gap is told as soon as the watermark has passed the second in which it became too long: before that records that fill
it may still come. It ends with the next record, or with the data, or when the group is forgotten. A late record that
lies in it makes it shorter or two, or takes it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.core.access import Log, Mask
from detector.core.episode import Tracked
from detector.core.finding import Finding
from detector.core.groupings import NO_GROUP, GroupKey
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.principal import Principal, fingerprint
from detector.core.rule import Silence
from detector.core.sighting import Texts
from detector.core.spans import NOBODY, Spans, following
from detector.core.threshold import who
from detector.core.times import duration, iso
from detector.core.view import BatchView
from detector.core.watch import EpisodeWatch, decoded, encoded
from detector.core.watermark import FOREVER, NEVER
from detector.core.window import Episode, starts_of_runs

HOUR = 3600
PAUSE = 60
"""Seconds by which event time has to go on before what is open is looked at again."""


class SilenceWatch(EpisodeWatch[Silence]):
    """State of one silence rule.

    first, last: of all records of the logs it reads. due: watermark up to which nothing can become silent, or be heard
    again. forgotten: what ended before this second is not told any more.
    """

    def __init__(self, rule: Silence, people: People, *, gather: bool = False, once: bool = False) -> None:
        del gather, once
        self._spans = Spans(f"spans/{rule.id}", rule.every)
        self._keys = Texts(f"keys/{rule.id}", people.slack)
        super().__init__(rule, people, [self._spans, self._keys])
        self._expected: dict[int, GroupKey] = {fingerprint((name,)): (name,) for name in rule.expect}
        self._first = self._last = 0
        self._due = self._forgotten = NEVER
        self._late: set[int] = set()

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Take note of when the groups were heard."""
        self._note_time(view)
        rows = self.chosen.rows(view)
        groups, keys = view.groups(self.rule.grouping)
        rows = rows[groups[rows] != NO_GROUP]
        if not len(rows):
            return
        heard = self._spans.add(groups[rows], view.time[rows])
        self._name(heard, keys)
        self._late.update(np.unique(groups[rows[late[rows]]]).tolist())
        self._due = NEVER if late[rows].any() else min(self._due, int(heard[1].min()) + self.rule.every)

    def advance(self, watermark: int) -> list[Finding]:
        """Tell of groups that have become silent, or are heard again."""
        if watermark <= self._due:
            return []
        gaps = self._gaps(watermark)
        news: list[Finding] = []
        for group in sorted({*gaps, *self.ledger.groups}):
            news += self.settle(group, gaps.get(group, ()), late=group in self._late)
        self._late = set()
        news += self.close(watermark)
        if any(self.ledger.is_open(group) for group in self.ledger.groups):
            self._due = min(self._due, watermark + PAUSE)
        self.changed = True
        return news

    def forget_before(self, second: int) -> None:
        """Let go of gaps that ended before this second, and of groups that nobody misses any more."""
        self._forgotten = second
        self.ledger.forget_before(second)
        self._spans.keep(lambda run: self._ends(run, FOREVER) >= second)
        self._keys.forget_before((second - self.rule.forget) // HOUR)
        self.changed = True

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._spans, self._keys]

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint."""
        times = {"first": self._first, "last": self._last, "due": self._due, "forgotten": self._forgotten}
        return times | {"late": sorted(self._late)}

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        self._spans.restore(parts)
        self._keys.restore(parts)
        self._first, self._last = state["first"], state["last"]
        self._due, self._forgotten, self._late = state["due"], state["forgotten"], set(state["late"])

    def key(self, group: int) -> GroupKey:
        """One text a level."""
        return self._expected.get(group) or decoded(self._keys, group)

    def people_of(self, group: int, tracked: Tracked) -> list[Principal]:  # noqa: ARG002  nobody did anything
        """The credentials behind an episode: none."""
        return []

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """When it was heard last, and when again."""
        rule, episode = self.rule, tracked.episode
        since = episode.opened_at - rule.every
        first, last = self._spans.of(group)
        told = {
            "last_heard": iso(since) if since in last else None,
            "heard_again": iso(episode.last_at) if episode.last_at in first else None,
        }
        of = f"{who(shown)}: " if shown else ""
        ever = "heard last" if told["last_heard"] else "never heard, and expected since the first record"
        again = ", heard again" if told["heard_again"] else ", not heard again by then"
        hours = int(episode.peak_value) / HOUR
        return {
            "window_seconds": rule.every,
            "peak_value": int(episode.peak_value),
            "explanation": f"{of}no such record for {hours:,.1f} hours, at most {duration(rule.every)} is usual: "
            f"from {iso(since)} ({ever}) to {iso(episode.last_at)}{again}.",
            "details": {"silence": told},
        }

    def _note_time(self, view: BatchView) -> None:
        """From when to when the logs tell of anything; a record of the future does not move the end."""
        seconds = view.time[np.isin(view.batch.log, [int(Log(log)) for log in self.chosen.logs])]
        if len(seconds):
            self._first = min(self._first or int(seconds.min()), int(seconds.min()))
            self._last = max(self._last, int(seconds.max(where=seconds <= view.latest, initial=self._first)))
            self.changed = True
            if self._expected:
                self._due = min(self._due, self._first + self.rule.every)

    def _name(self, heard: Run, keys: Mapping[int, GroupKey]) -> None:
        """Remember the keys of groups."""
        starts = starts_of_runs(heard[0])
        groups, hours = heard[0][starts], np.maximum.reduceat(heard[2], starts) // HOUR
        self._keys.put(groups, hours, lambda new: [encoded(keys[group]) for group in groups[new].tolist()])

    def _missed(self) -> Run:
        """Buckets that are expected, as if each had been heard when the logs begin."""
        if not self._first or not self._expected:
            return NOBODY
        at = np.full(len(self._expected), self._first, np.int64)
        return np.fromiter(self._expected, np.uint64), at, at

    def _ends(self, run: Run, end: int) -> Any:
        """When the silence after each stretch ends: heard again, forgotten, or at `end`."""
        return np.minimum(following(run, end), run[2] + self.rule.forget)

    def _gaps(self, watermark: int) -> dict[int, list[Episode]]:
        """The silences of every group by a watermark. Says when the next is due."""
        end = watermark if watermark < FOREVER else self._last
        every, self._due = self.rule.every, FOREVER
        out: dict[int, list[Episode]] = {}
        for run in self._spans.all(self._missed()):
            group, _, last = run
            opens, ends = last + every, self._ends(run, end)
            waiting = opens >= watermark
            self._due = min(self._due, int(opens[waiting].min(initial=FOREVER)))
            silent = ~waiting & (ends > opens) & (ends >= self._forgotten)
            for one in np.flatnonzero(silent).tolist():
                at, until = int(opens[one]), int(ends[one])
                out.setdefault(int(group[one]), []).append(Episode(at, until, float(until - at + every), until))
        return out
