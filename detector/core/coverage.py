"""The coverage ledger: what the logs have seen at all, so that "nothing found" can be told from "nothing seen". Pure.

Rules of this file
- It is made of the records as they were read, and of the names of their files; nothing else is needed.
- Time is counted in slots of five minutes. A slot is a bit: ledgers add in any order, and the same records twice, in
  other batches or from a cache change nothing (`merge` is a union).
- `sources`: event times by kind of log and partition (account/region), of every record that could be read, skipped ones
  too. `deliveries`: delivery times that the names of CloudTrail's files tell, by the same. `buckets`: by kind of log,
  bucket and `Kind`, where the records' buckets were asked for.
- It is bounded: beyond so many days in all, whole subjects are let go of by the hash of their name, and `capped` says
  so. What is kept does not depend on the order either.

Source of the names: AWS CloudTrail user guide, "Finding your CloudTrail log files".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from detector.core.access import I64, AccessBatch, Index, Log, Mask, Operation, text_hash
from detector.core.times import epoch
from detector.errors import StateError

SLOT = 300
"""Seconds."""
DAY = 86_400 // SLOT
"""Slots of a day."""
VERSION = 1
LAST = 1 << 33
"""Epoch seconds from which on a time is none: the year 2242."""
MOST_DAYS = 200_000
"""Days that a calendar holds, of all its subjects together: about 200 bytes each."""
LONGEST = 200
"""Characters of a name; a log may say more."""
_SLACK = MOST_DAYS // 4
_DENSE = 1 << 20
DELIVERED = re.compile(r"(?:^|/)([0-9]{12})_CloudTrail_([a-z0-9-]{1,30})_([0-9]{8}T[0-9]{4})Z_[^/]*$")

Subject = tuple[str, ...]


class Kind(IntEnum):
    """What a bucket was seen in. decrypts: KMS decrypted an object of it."""

    reads = 0
    decrypts = 1
    other = 2


class OfBucket(NamedTuple):
    """A subject of `Coverage.buckets`."""

    bucket: str
    log: str
    kind: str


KIND = np.full(len(Operation), Kind.other, np.int64)
"""By class of operation. What reads about an object is logged together with what reads it."""
KIND[[Operation.read, Operation.copy, Operation.restore, Operation.list, Operation.head]] = Kind.reads
KIND[Operation.decrypt] = Kind.decrypts


class Calendar:
    """Slots of many subjects: a set of bits a day."""

    def __init__(self, most: int = MOST_DAYS) -> None:
        self.most = most
        self._capped = False
        self._days: dict[Subject, dict[int, int]] = {}
        self._count = 0

    @property
    def capped(self) -> bool:
        """Whether there were too many days to keep."""
        return self._capped or self._count > self.most

    def put(self, subject: Subject, day: int, bits: int) -> None:
        """In these slots of a day (since the epoch) the subject was seen."""
        days = self._days.setdefault(subject, {})
        self._count += day not in days
        days[day] = days.get(day, 0) | bits
        if self._count > self.most + _SLACK:
            self._cut()

    def mark(self, names: Sequence[Subject], codes: Index | I64, times: I64) -> None:
        """The subject `names[code]` was seen at each of these times (epoch seconds)."""
        if not len(times):
            return
        slots = times // SLOT
        first = int(slots.min()) // DAY * DAY
        days = (int(slots.max()) - first) // DAY + 1
        cell = codes * (days * DAY) + (slots - first)
        row = cell // DAY
        kept, number = _numbered(row, len(names) * days)
        bits = np.zeros((len(kept), DAY), np.bool_)
        bits[number, cell - row * DAY] = True
        packed = np.packbits(bits, axis=1, bitorder="little")
        for at, of_day in zip(kept.tolist(), packed, strict=True):
            self.put(names[at // days], first // DAY + at % days, int.from_bytes(of_day.tobytes(), "little"))

    def merge(self, other: Calendar) -> None:
        """Take in what another one has seen."""
        self._capped |= other.capped
        for subject, days in other._days.items():
            for day, bits in days.items():
                self.put(subject, day, bits)

    def subjects(self) -> Iterator[Subject]:
        """All of them."""
        self._cut()
        return iter(self._days)

    def slots(self) -> Iterator[tuple[Subject, I64]]:
        """Every subject in order, and the slots (since the epoch) in which it was seen, in order."""
        self._cut()
        for subject in sorted(self._days):
            yield subject, self.of(subject)

    def of(self, subject: Subject) -> I64:
        """The slots in which a subject was seen, in order."""
        days = sorted(self._days.get(subject, {}).items())
        packed = np.frombuffer(b"".join(bits.to_bytes(DAY // 8, "little") for _, bits in days), np.uint8)
        row, slot = np.nonzero(np.unpackbits(packed.reshape(-1, DAY // 8), axis=1, bitorder="little"))
        return np.array([day for day, _ in days], np.int64)[row] * DAY + slot

    def to_json(self) -> dict[str, Any]:
        """As plain data; bits as hexadecimal digits, the least the first slot."""
        self._cut()
        rows = [[*subject, {str(day): f"{bits:x}" for day, bits in sorted(days.items())}]
                for subject, days in sorted(self._days.items())]  # fmt: skip
        return {"capped": self.capped, "seen": rows}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], most: int = MOST_DAYS) -> Calendar:
        """What `to_json` gave. Raises ValueError, KeyError or TypeError for anything else."""
        calendar = cls(most)
        for *subject, days in plain["seen"]:
            for day, digits in days.items():
                calendar.put(tuple(map(str, subject)), int(day), int(digits, 16) & (1 << DAY) - 1)
        calendar._capped = bool(plain["capped"])
        return calendar

    def _cut(self) -> None:
        """Keep the first `most` days: subjects by the hash of their name, of one subject the newest days."""
        if self._count <= self.most:
            return
        self._capped, left = True, self.most
        kept: dict[Subject, dict[int, int]] = {}
        for subject in sorted(self._days, key=_rank):
            days = self._days[subject]
            if left > 0:
                kept[subject] = dict(sorted(days.items(), reverse=True)[:left])
                left -= len(kept[subject])
        self._days, self._count = kept, self.most


class Coverage:
    """What logs have seen: grows with `add` and `deliver`, adds up with `merge`."""

    def __init__(self) -> None:
        self.sources, self.deliveries, self.buckets = Calendar(), Calendar(), Calendar(MOST_DAYS // 2)
        self.buckets_asked = False

    def add(self, batch: AccessBatch) -> None:
        """Take note of a batch as it was read: with its skipped records, and before any are left out by time."""
        timed = np.flatnonzero(_timed(batch.time))
        rows: Index | slice = slice(None) if len(timed) == len(batch) else timed
        times, logs = batch.time[rows], batch.log[rows].astype(np.int64)
        partition = batch.partition.filled("")
        places = [_bounded(name) for name in partition.values]
        names: list[Subject] = [(log.name, place) for log in Log for place in places]
        self.sources.mark(names, logs * len(places) + partition.codes[rows], times)
        if "bucket" in batch.text:
            self.buckets_asked = True
            self._add_buckets(batch)

    def deliver(self, name: str) -> None:
        """Take note of a log file's name."""
        told = DELIVERED.search(name)
        second = epoch(f"{told[3]}00Z") if told else None
        if told and second is not None:
            day, slot = divmod(second // SLOT, DAY)
            self.deliveries.put((Log.cloudtrail.name, f"{told[1]}/{told[2]}"), day, 1 << slot)

    def merge(self, other: Coverage) -> None:
        """Take in what another part of the logs has seen."""
        self.sources.merge(other.sources)
        self.deliveries.merge(other.deliveries)
        self.buckets.merge(other.buckets)
        self.buckets_asked |= other.buckets_asked

    def let_go_of_buckets(self) -> None:
        """As if nobody had asked for the records' buckets."""
        self.buckets, self.buckets_asked = Calendar(MOST_DAYS // 2), False

    @property
    def capped(self) -> bool:
        """Whether there were too many days and subjects to keep."""
        return self.sources.capped or self.deliveries.capped or self.buckets.capped

    def to_json(self) -> dict[str, Any]:
        """As plain data, for a file or a journey."""
        calendars = {name: getattr(self, name).to_json() for name in _CALENDARS}
        return {"version": VERSION, "buckets_asked": self.buckets_asked, **calendars}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Coverage:
        """What `to_json` gave. Raises StateError for anything else."""
        if not isinstance(plain, Mapping) or plain.get("version") != VERSION:
            raise StateError("a coverage ledger of another version", remedy="read the logs again")
        ledger = cls()
        try:
            for name in _CALENDARS:
                setattr(ledger, name, Calendar.from_json(plain[name], getattr(ledger, name).most))
            ledger.buckets_asked = bool(plain["buckets_asked"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(f"a damaged coverage ledger: {error!r}", remedy="read the logs again") from error
        return ledger

    def _add_buckets(self, batch: AccessBatch) -> None:
        buckets = batch.text["bucket"]
        rows = np.flatnonzero((buckets.codes >= 0) & _timed(batch.time))
        kinds = batch.log[rows].astype(np.int64) * len(Kind) + KIND[batch.operation[rows]]
        known, codes = _numbered(buckets.codes[rows].astype(np.int64), len(buckets.values))
        shown = [_bounded(buckets.values[code]) for code in known.tolist()]
        names: list[Subject] = [OfBucket(name, log.name, kind.name) for log in Log for kind in Kind for name in shown]
        self.buckets.mark(names, kinds * len(shown) + codes, batch.time[rows])


_CALENDARS = ("sources", "deliveries", "buckets")


def _timed(time: I64) -> Mask:
    """Which records have a time that a calendar knows."""
    known: Mask = (time > 0) & (time < LAST)
    return known


def _numbered(values: I64, bound: int) -> tuple[Index | I64, Index | I64]:
    """The distinct values (0 ≤ value < bound) in order, and each value's place among them."""
    if bound > _DENSE:  # a clock went mad, or there are very many names
        return np.unique(values, return_inverse=True)
    there = np.zeros(bound, np.bool_)
    there[values] = True
    kept = np.flatnonzero(there)
    place = np.cumsum(there) - 1
    return kept, place[values]


def _rank(subject: Subject) -> tuple[int, Subject]:
    return text_hash("\0".join(subject)), subject


def _bounded(text: str) -> str:
    return text[:LONGEST]
