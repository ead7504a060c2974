"""Watches one received rule: copies → the buckets they went to; what is done there → counted as thresholds are. Pure.

Everything that may count is counted, whether or not its bucket is known to have received anything: the record of the
copy may come later. What counts is worked out when it is looked at. Copies and reviews only say from when on; so order,
cuts and copies of records change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detector.core.access import I64, U64, Index, Log, Mask, text_hash
from detector.core.conditions import matching
from detector.core.episode import Tracked
from detector.core.globs import glob
from detector.core.groupings import GroupKey
from detector.core.kinds.received import MINUTE, Received
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.runs import Segments, concat
from detector.core.select import selector
from detector.core.sighting import Sightings
from detector.core.tally import SEGMENT
from detector.core.threshold import CountingWatch
from detector.core.times import iso
from detector.core.view import BatchView
from detector.core.watermark import FOREVER, NEVER
from detector.core.window import starts_of_runs

ALL = 0
"""The one segment of arrivals: a row for each bucket and minute in which it received something."""


def _earliest(runs: Sequence[Run]) -> Run:
    """Rows (bucket, second) as one run, of each bucket and minute the first."""
    bucket, second = concat(runs)
    order = np.lexsort((second, bucket))
    bucket, second = bucket[order], second[order]
    first = starts_of_runs(bucket, second // MINUTE)
    return bucket[first], second[first]


class ReceivedWatch(CountingWatch[Received]):
    """State of one received rule. within: the groups of every bucket, whether or not it received anything."""

    def __init__(self, rule: Received, people: People, *, gather: bool, once: bool) -> None:
        self._arrivals = Segments(f"arrived/{rule.id}", _earliest)
        self._within = Sightings(f"within/{rule.id}")
        self._arriving = selector(rule.arriving)
        self._source = glob(rule.source)
        self._level = rule.group_by.index("bucket")
        self._near: U64 | None = None
        super().__init__(rule, people, [self._arrivals, self._within], gather=gather, once=once)

    def reads(self) -> tuple[Log, ...]:
        """Kinds of log the rule reads."""
        return tuple(sorted({*self.chosen.logs, Log.cloudtrail}))

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Take note of what was received, and count what is done in buckets that are none of the source's."""
        rows = view.rows(self._arriving)
        rows = rows[~matching(view.batch.text["destination"], rows, self._source)]
        if len(rows):
            self._receive(view.batch.text["destination"].hashes()[rows], view.time[rows], late=bool(late[rows].any()))
        super().absorb(view, late)

    def count(self, view: BatchView, rows: Index, levels: GroupKey, late: Mask) -> None:
        """Count those of these rows that are in another bucket than the source's."""
        rows = view.of_groups(rows[~matching(view.batch.text["bucket"], rows, self._source)], levels)
        if not len(rows):
            return
        backward = rows[np.argsort(view.time[rows], kind="stable")[::-1]]
        group, place = np.unique(view.groups(levels)[0][backward], return_index=True)
        last = backward[place]  # by its last record a group is forgotten
        self._within.add(view.batch.text["bucket"].hashes()[last], group, view.time[last] // SEGMENT)
        self._near = None
        super().count(view, rows, levels, late)

    def note(self, view: BatchView, rows: Index, levels: GroupKey, warm: U64, late: Mask) -> None:
        """Of rows that were counted: which groups had late ones, and evidence of those whose bucket received."""
        super().note(view, rows, levels, warm[np.isin(warm, self._receiving())], late)

    def may_cross(self, groups: U64, buckets: I64) -> Mask:
        """Which of these groups, in order, are worth a close look in a bucket of time."""
        near: Mask = super().may_cross(groups, buckets) & np.isin(groups, self._receiving())
        return near

    def counted(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """What was counted of a group while its bucket was watched."""
        seconds, credentials, items = super().counted(group, first, last)
        kept = np.zeros(len(seconds), np.bool_)
        if self.is_named(group):  # else it is looked at for others, that had raised the bound of its place
            kept = self._watched(self.key(group)[self._level], seconds)
        return seconds[kept], credentials[kept], items[kept]

    def forget_counted(self, oldest: int) -> bool:
        """Let go of what was counted before; whether there was any. What was received is not forgotten."""
        gone = super().forget_counted(oldest)
        if gone:
            self._within.forget_before(oldest // SEGMENT)
        return gone

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._arrivals, self._within, *super().spilling()]

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        self._arrivals.restore(parts)
        self._within.restore(parts)
        super().resume(parts, state)

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """As for thresholds; since when the bucket is watched."""
        bucket, opened = self.key(group)[self._level], tracked.episode.opened_at
        arrived, since = self._arrived(text_hash(bucket)), self._reviewed(bucket, np.array([opened]))[0]
        first = int(arrived[np.searchsorted(arrived, since)])
        told = {"received": {"bucket": bucket, "first_copy": iso(first)}}
        fields = super().explain(group, shown, tracked) | {"details": told}
        fields["explanation"] += f" It received copies from {', '.join(self.rule.source)} since {iso(first)}."
        if self.once:
            seconds = self.counted(group, opened - self.rule.window + 1, tracked.episode.last_at)[0]
            fields["members"] = tuple(np.unique(seconds).tolist())
        return fields

    def _receive(self, bucket: U64, second: I64, *, late: bool) -> None:
        """These buckets received something in these seconds: what was counted there since is looked at again."""
        bucket, second = _earliest([(bucket, second)])
        for one in np.unique(bucket).tolist():
            since = second[bucket == one]
            known = self._arrived(one)
            if not self.once and (not len(known) or self.rule.reviewed or since[0] < known[0]):
                again = self.consider_span(int(since[0]), FOREVER, self._groups_of(one))
                self._late.update(again.tolist() if late else ())
        self._arrivals.append(ALL, (bucket, second))
        self._near = None

    def _watched(self, bucket: str, seconds: I64) -> Mask:
        """In which of these seconds a bucket was watched: it had received something since it was last reviewed."""
        arrived = self._arrived(text_hash(bucket))
        first = np.append(arrived, FOREVER)[np.searchsorted(arrived, self._reviewed(bucket, seconds))]
        return first <= seconds

    def _reviewed(self, bucket: str, seconds: I64) -> I64:
        """When a bucket had last been reviewed, in each of these seconds."""
        ends = sorted(one.at for one in self.rule.reviewed if glob(one.bucket).fullmatch(bucket))
        return np.array([NEVER, *ends])[np.searchsorted(ends, seconds, "right")]

    def _arrived(self, bucket: int) -> I64:
        """The seconds in which a bucket received something, of each minute the first."""
        found = [part.span(bucket, bucket)[1] for part in self._arrivals.parts(ALL, ALL)]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *found]))

    def _receiving(self) -> U64:
        """The groups of all buckets that ever received anything."""
        if self._near is None:
            buckets = [np.unique(part.keys()).tolist() for part in self._arrivals.parts(ALL, ALL)]
            every = [self._groups_of(one) for one in sorted({*(b for some in buckets for b in some)})]
            self._near = np.concatenate([np.zeros(0, np.uint64), *every])
        return self._near

    def _groups_of(self, bucket: int) -> U64:
        return np.unique(np.concatenate([np.zeros(0, np.uint64), *(run[1] for run in self._within.rows(bucket))]))
