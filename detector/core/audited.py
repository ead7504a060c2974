"""What the application's audit log says was read, and when it said anything: for rules of kind `unaudited`. Pure.

A record is matched by bucket and key; by the key alone where it names no bucket; by the key that a sample's id stands
for where it names no key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from detector.core.access import I64, OBJECT_MIX, U64, AccessBatch, Column, Index, Log, Mask, Outcome, text_hash
from detector.core.kinds.unaudited import SAMPLE_ID, Unaudited
from detector.core.part import Run
from detector.core.principal import Principal
from detector.core.runs import Segments, concat
from detector.core.spans import Spans
from detector.core.table import SPREAD
from detector.core.window import by_value, starts_of_runs

DAY = 86_400
ALL = 1
"""The one group of which it is noted when it was heard: the whole log."""


class Marks(Segments):
    """Which hashes were met near which second.

    Time is cut into slots of `within` seconds; rows are (hash and slot, first second, last second there). Whether a
    hash was met at most `within` seconds from another second, first and last of three slots tell exactly.
    """

    def __init__(self, name: str, within: int) -> None:
        super().__init__(name, _united)
        self._within = within

    def add(self, hashes: U64, second: I64) -> None:
        """These hashes were met in these seconds."""
        slot = second // self._within
        for day, rows in by_value(slot * self._within // DAY):
            self.append(day, _united([(_place(hashes[rows], slot[rows]), second[rows], second[rows])]))

    def near(self, hashes: U64, second: I64) -> Mask:
        """Which of these hashes were met at most `within` seconds before or after these seconds."""
        found = np.zeros(len(hashes), np.bool_)
        for step in (-1, 0, 1) if len(self) else ():
            slot = second // self._within + step
            place = _place(hashes, slot)
            order = np.argsort(place)
            for day, rows in by_value((slot * self._within // DAY)[order]):
                some = order[rows]
                for part in self.parts(day, day):
                    for hit, (first, last) in part.find(place[some]):
                        at = some[hit]
                        found[at] |= (last >= second[at] - self._within) & (first <= second[at] + self._within)
        return found

    def forget_before(self, second: int) -> None:
        """Let go of the days before the one on which the slot of this second begins."""
        self.drop_before(second // self._within * self._within // DAY)


class Audited:
    """The audit log as one rule sees it.

    buckets: hashes of those that objects were read from. A record without a bucket is held against keys, and an
    object's hash less its bucket's is its key's.
    """

    def __init__(self, rule: Unaudited) -> None:
        self._rule = rule
        self.objects = Marks(f"audited/{rule.id}", rule.within)
        self.keys = Marks(f"audited-keys/{rule.id}", rule.within)
        self.heard = Spans(f"heard/{rule.id}", rule.silent_after)
        self.buckets: set[int] = set()

    @property
    def segments(self) -> list[Segments]:
        """All its state that lies in segments."""
        return [self.objects, self.keys, self.heard]

    def absorb(self, batch: AccessBatch) -> I64:
        """Take note of what the audit log says in a batch, and when: the seconds."""
        rows = np.flatnonzero(batch.log == Log.access_audit)
        if not len(rows):
            return batch.time[:0]
        self.heard.add(np.full(len(rows), ALL, np.uint64), batch.time[rows])
        read = rows[batch.outcome[rows] == Outcome.success]
        names = self.names([batch.principals[code] for code in range(len(batch.principals))])
        buckets = batch.text["bucket"].take(read)
        for some, keys in self._keys(batch, read):
            mine = read[some]
            marks = _named(buckets.hashes()[some] * OBJECT_MIX + keys, np.append(names, np.uint64(0))[batch.who[mine]])
            for holder, which in ((self.objects, buckets.codes[some] >= 0), (self.keys, buckets.codes[some] < 0)):
                if which.any():
                    holder.add(marks[which], batch.time[mine[which]])
        return batch.time[rows]

    def names(self, people: Sequence[Principal]) -> U64:
        """Hash of the name that a record has to give of each; 0 where it need not give one."""
        if not self._rule.match_requester:
            return np.zeros(len(people), np.uint64)
        return np.array([text_hash(called(one)) for one in people], np.uint64)

    def tells(self, objects: U64, names: U64, seconds: I64) -> Mask:
        """Which of these objects it says were read about then, by somebody of that name."""
        found = self.objects.near(_named(objects, names), seconds)
        for bucket in sorted(self.buckets) if len(self.keys) else ():
            left = np.flatnonzero(~found)
            keys = objects[left] - np.full(1, bucket, np.uint64) * OBJECT_MIX
            found[left] = self.keys.near(_named(keys, names[left]), seconds[left])
        return found

    def silent(self, seconds: I64) -> Mask:
        """Which of these seconds lie before its first record, after its last, or in a long gap."""
        first, last = self.heard.of(ALL)
        if not len(first):
            return np.ones(len(seconds), np.bool_)
        at = np.searchsorted(first, seconds, "right") - 1
        return (at < 0) | (seconds > last[at])

    def forget_before(self, second: int) -> None:
        """Let go of what no read from this second on could match."""
        oldest = second - self._rule.ahead
        self.objects.forget_before(oldest)
        self.keys.forget_before(oldest)
        self.heard.keep(lambda run: run[2] >= oldest)

    def _keys(self, batch: AccessBatch, rows: Index) -> Iterator[tuple[Index, U64]]:
        """Places in these rows, and hashes of the keys they may mean."""
        key, sample = batch.text["key"].take(rows), batch.text["sample_id"].take(rows)
        plain = np.flatnonzero(key.codes >= 0)
        yield plain, key.hashes()[plain]
        by_sample = np.flatnonzero((key.codes < 0) & (sample.codes >= 0))
        for pattern in self._rule.key or ():
            yield by_sample, _made(sample, by_sample, pattern)


def called(who: Principal) -> str:
    """The name by which an application knows somebody: the session's or user's, or what its own log says."""
    if who.type == "Application":
        return who.session_shown.removeprefix("app:")
    return who.session_name or who.session_shown.rpartition("/")[2]


def _made(sample: Column, rows: Index, pattern: str) -> U64:
    """Hashes of the keys that samples stand for."""
    codes, of_row = np.unique(sample.codes[rows], return_inverse=True)
    hashes = [text_hash(pattern.replace(SAMPLE_ID, sample.values[code])) for code in codes.tolist()]
    made: U64 = np.array(hashes, np.uint64)[of_row]
    return made


def _named(objects: U64, names: U64) -> U64:
    return (objects ^ names) * OBJECT_MIX


def _place(hashes: U64, slot: I64) -> U64:
    return hashes + slot.astype(np.uint64) * SPREAD


def _united(runs: Sequence[Run]) -> Run:
    """Runs as one, by hash and slot, with the first and the last second of each."""
    place, first, last = concat(runs)
    order = np.argsort(place)
    place = place[order]
    starts: Any = starts_of_runs(place)
    return place[starts], np.minimum.reduceat(first[order], starts), np.maximum.reduceat(last[order], starts)
