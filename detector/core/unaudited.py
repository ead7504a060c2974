"""Watches one unaudited rule: reads → those the audit log does not tell of → counted as thresholds are. Pure.

A read is judged once the watermark, the audit log's above all, has passed everything that decides about it. Reads while
the audit log is silent are nobody's fault in particular: they count together, for the log, so that its failure is one
finding and not one for everybody. A late record takes its read out: findings are corrected, or withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.core.access import I64, OBJECT_MIX, U64, Index, Log, Mask
from detector.core.audited import Audited
from detector.core.episode import Tracked
from detector.core.evidence import listed
from detector.core.finding import Finding
from detector.core.groupings import GroupKey
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.principal import fingerprint
from detector.core.rule import Unaudited
from detector.core.runs import concat
from detector.core.table import SPREAD
from detector.core.threshold import CountingWatch, counted, who
from detector.core.times import duration, iso
from detector.core.view import BatchView
from detector.core.watermark import FOREVER, NEVER

THE_LOG: GroupKey = ("access_audit",)
LOG_GROUP = fingerprint(THE_LOG)
"""The group of everything that was read while the audit log was silent."""


class UnauditedWatch(CountingWatch[Unaudited]):
    """State of one unaudited rule.

    passed: the watermark. waiting: the first bucket of time that has something to judge. Evidence is left to replay:
    when reads come it is not known yet which of them lack a record.
    """

    def __init__(self, rule: Unaudited, people: People, *, gather: bool, once: bool) -> None:
        del gather
        self._audited = Audited(rule)
        self._passed, self._waiting = NEVER, FOREVER
        super().__init__(rule, people, self._audited.segments, gather=False, once=once)

    def reads(self) -> tuple[Log, ...]:
        """Kinds of log the rule reads."""
        return (*self.chosen.logs, Log.access_audit)

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Take note of what the audit log says, and count the reads that the rule is about."""
        seconds = self._audited.absorb(view.batch)
        past = seconds[seconds <= self._passed]
        if len(past):
            self._judge_again(int(past.min()) - self.rule.ahead, int(past.max()) + self.rule.ahead)
        self.changed |= bool(len(seconds))
        super().absorb(view, late)

    def count(self, view: BatchView, rows: Index, levels: GroupKey, late: Mask) -> None:
        """Count these rows by their groups at these levels."""
        if not len(rows := view.of_groups(rows, levels)):
            return
        self._audited.buckets.update(np.unique(view.text_hashes("bucket")[rows]).tolist())
        super().count(view, rows, levels, late)
        self._consider_log(view.time[rows] // self.rule.window)

    def consider(self, group: U64, bucket: I64) -> None:
        """A value of these groups may be at or above the threshold in these buckets and in those after them."""
        super().consider(group, bucket)
        self._consider_log(bucket)

    def judge(self) -> list[Finding]:
        """Nothing: only time tells what has no record."""
        return []

    def advance(self, watermark: int) -> list[Finding]:
        """Judge what the watermark has passed by all that decides about it; close what nothing can join any more."""
        self._passed = max(self._passed, watermark)
        judged = (self._passed - self.rule.ahead) // self.rule.window
        news = self._judge_before(judged) if self._waiting < judged else []
        return news + self.close((judged - 1) * self.rule.window)

    def may_cross(self, groups: U64, buckets: I64) -> Mask:
        """Which of these groups, in order, are worth a close look in a bucket; the log's own group always is."""
        near: Mask = super().may_cross(groups, buckets) | (groups == np.uint64(LOG_GROUP))
        return near

    def counted(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """What was counted of a group, without what the audit log tells of; of the log what it was silent about."""
        of_log = group == LOG_GROUP
        seconds, credentials, items = self._all(first, last) if of_log else super().counted(group, first, last)
        kept = np.flatnonzero(self._audited.silent(seconds) == of_log)
        kept = kept[~self._audited.tells(items[kept], self._names(credentials[kept]), seconds[kept])]
        return seconds[kept], credentials[kept], items[kept]

    def forget_before(self, second: int) -> None:
        """Let go of everything that only records before this second could change."""
        super().forget_before(second)
        self._audited.forget_before(self.oldest(second))

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [*self._audited.segments, *super().spilling()]

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint."""
        own = {"passed": self._passed, "waiting": self._waiting, "late": sorted(self._late)}
        return super().state() | own | {"buckets": sorted(self._audited.buckets)}

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped; what was not judged then is looked at again."""
        for one in self._audited.segments:
            one.restore(parts)
        self._audited.buckets = set(state["buckets"])
        super().resume(parts, state)
        self._passed, self._late = state["passed"], set(state["late"])
        if state["waiting"] < FOREVER:
            self.consider_span((state["waiting"] - 1) * self.rule.window, FOREVER)

    def key(self, group: int) -> GroupKey:
        """One text a level."""
        return THE_LOG if group == LOG_GROUP else super().key(group)

    def shown(self, group: int) -> dict[str, str]:
        """Level → name for people."""
        return {"log": THE_LOG[0]} if group == LOG_GROUP else super().shown(group)

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """As for thresholds; whether the audit log was silent, and who read then."""
        episode = tracked.episode
        told: dict[str, Any] = {"within": duration(self.rule.within), "audit_log": "heard"}
        fields: dict[str, Any] = {"details": {"unaudited": told}}
        if group == LOG_GROUP or self.once:
            rows = self.counted(group, episode.opened_at - self.rule.window + 1, episode.last_at)
            fields["members"] = tuple(np.unique(read_hashes(*rows)).tolist()) if self.once else ()
            if group == LOG_GROUP:
                told |= {"audit_log": "silent", "sessions": self._sessions(rows[1])}
        return super().explain(group, shown, tracked) | fields

    def sentence(self, shown: Mapping[str, str], tracked: Tracked, peak: int) -> str:
        """What happened."""
        rule, episode = self.rule, tracked.episode
        times = f"from {iso(episode.opened_at)} to {iso(episode.last_at)}"
        many = f"{peak:,} {counted(rule.measure)} read within {duration(rule.window)} at the peak"
        if "log" in shown:
            return (
                f"{who(shown)} is silent for longer than {duration(rule.silent_after)}: {many}, of which it cannot "
                f"tell, by whomever, threshold {rule.threshold:,}; {times}."
            )
        return (
            f"{who(shown)}: {many} without a record in the application's audit log within {duration(rule.within)}, "
            f"threshold {rule.threshold:,}; {times}."
        )

    def _judge_before(self, bucket: int) -> list[Finding]:
        """Judge what is to be judged before this bucket of time; the rest waits."""
        if bucket > FOREVER // (2 * self.rule.window):
            self._waiting = FOREVER
            return super().judge()
        due: list[Run] = []
        early: list[Run] = []
        for run in self._candidates.taken():
            waits = run[1] >= np.uint64(bucket)
            due.append(tuple(column[~waits] for column in run))
            early.append(tuple(column[waits] for column in run))
        self._put_back(due)
        news = super().judge()
        self._put_back(early)
        self._waiting = min((int(buckets.min()) for _, buckets, *_ in early if len(buckets)), default=FOREVER)
        self.changed = True
        return news

    def _put_back(self, candidates: list[Run]) -> None:
        for groups, buckets, hours in candidates:
            if len(groups):
                self._candidates.add(groups, buckets, hours.astype(np.int64))

    def _judge_again(self, first: int, last: int) -> None:
        """Late records of the audit log change what is true of these seconds."""
        self._late.update(self.consider_span(first, last).tolist(), [LOG_GROUP])

    def _consider_log(self, bucket: I64) -> None:
        """What anybody does counts for the log's own group, too."""
        bucket = np.unique(bucket)
        super().consider(np.full(len(bucket), LOG_GROUP, np.uint64), bucket)
        self._waiting = min(self._waiting, int(bucket.min(initial=FOREVER)))

    def _all(self, first: int, last: int) -> tuple[I64, U64, U64]:
        """What was counted of all groups while the log was silent, by second."""
        runs = [tuple(column[:0] for column in (NO_ROWS, NO_ROWS.astype(np.int64), NO_ROWS, NO_ROWS))]
        for run in self._counted.tallies.slices(first, last):
            silent = self._audited.silent(run[1])
            runs.append(tuple(column[silent] for column in run))
        _, second, credentials, item = concat(runs)
        order = np.argsort(second, kind="stable")
        return second[order], credentials[order], item[order]

    def _names(self, credentials: U64) -> U64:
        """Hash of the name that a record has to give of whoever has these credentials."""
        if not self.rule.match_requester:
            return np.zeros(len(credentials), np.uint64)
        prints, of_row = np.unique(credentials, return_inverse=True)
        people = self.people.found(prints.tolist())
        names = dict(zip(people, self._audited.names([*people.values()]).tolist(), strict=True))
        return np.array([names.get(one, 0) for one in prints.tolist()], np.uint64)[of_row]

    def _sessions(self, credentials: U64) -> list[str]:
        """Who read, of many a few."""
        return listed({one.session_shown for one in self.people.of(np.unique(credentials).tolist())})


NO_ROWS = np.zeros(0, np.uint64)


def read_hashes(second: I64, credentials: U64, objects: U64) -> U64:
    """Hash of each read, by which replay finds the records behind a finding."""
    hashes: U64 = (objects + second.astype(np.uint64) * SPREAD) ^ (credentials * OBJECT_MIX)
    return hashes
