"""CloudTrail records → access records. Pure: bytes in, rows and rejects out.

Rules of this file
- A record is rejected only if it has no readable event time or is no readable JSON object.
- Files that are in order are turned into columns together, others alone, and record by record if that does not do.
- All texts are the requester's: nothing here is evaluated, and texts are made valid UTF-8.

How a document falls into records is in `documents.py`, what a record looks like in `record.py`, what it means in
`event_columns.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
from xxhash import xxh64_hexdigest

from detector.core.access import (
    Operation,
    Skip,
)
from detector.core.builder import BatchBuilder
from detector.logs import documents, kernel
from detector.logs.documents import BROKEN, UNCLOSED, UNDECODABLE, Trouble
from detector.logs.event_columns import INTERNAL, columns, hides_bucket, operations, skip_of
from detector.logs.identity import decoded
from detector.logs.kernel import Found, plan, room_for
from detector.logs.limits import LIMITS, Limits
from detector.logs.members import Decoded, Members, Sliced, seconds
from detector.logs.place import PLACE_COLUMNS
from detector.logs.record import LINK, WHOLE, Shape, shape

GATHERED = 1 << 23
"""Bytes of documents that are made columns together: most of it is in the processor's caches still."""


def parse(data: bytes, name: str, into: BatchBuilder, limits: Limits = LIMITS) -> bool:
    """All records of a CloudTrail document: `{"Records": […]}`, an array, lines, or single events, wrapped or not.

    Every record becomes a row or a reject of `into`; positions count records from 1.
    Returns whether the document was whole (False: its JSON is broken somewhere; what could be read around it was).
    """
    waiting = into.waiting
    if not (isinstance(waiting, _Gathered) and waiting.has_room(data)):
        into.settle()
        waiting = into.waiting = _Gathered(into, limits)
    return waiting.take(data, name) or _alone(data, name, into, limits)


class _Gathered:
    """Documents that are in order, of which columns are made together: that costs for few rows as much as for many."""

    def __init__(self, into: BatchBuilder, limits: Limits) -> None:
        self._into, self._limits = into, limits
        self._asked = shape(into.columns)
        self._found: Found | None = None
        self._names: list[str] = []

    def __len__(self) -> int:
        return self._found.rows if self._found else 0

    def has_room(self, data: bytes) -> bool:
        """Whether one more document may be taken."""
        return self._found is None or self._found.has_room(data, GATHERED)

    def take(self, data: bytes, name: str) -> bool:
        """Take in a document; whether it is in order."""
        if not kernel.BUILT:
            return False
        if self._found is None:
            self._found = Found(plan(self._asked.struct), room_for(data, GATHERED))
        first = self._found.rows
        if not documents.add(data, self._found, self._limits):
            return False
        self._names.append(name)
        self._into.span(self._found.times[first : self._found.rows])
        return True

    def settle(self) -> None:
        """Add their records."""
        found, names, self._found, self._names = self._found, self._names, None, []
        assert found is not None  # noqa: S101  else it has no rows
        if not _add(Sliced(self._asked, found), self._asked, partial(self._again, found), self._into):
            for data, name in zip(found.documents, names, strict=True):
                _alone(data, name, self._into, self._limits)

    def _again(self, given: Found, asked: Shape) -> Members | None:
        """The same documents in another shape, in which the next ones are read as well."""
        self._asked = asked
        found = Found(plan(asked.struct), given.rows)
        return Sliced(asked, found) if all(documents.add(one, found, self._limits) for one in given.documents) else None


def _alone(data: bytes, name: str, into: BatchBuilder, limits: Limits) -> bool:
    """`parse` of what others than the kernel have to look at."""
    if _at_once(data, into, limits):
        return True
    # Something is out of the ordinary. A record without an id is named by its whole content: all of it is needed.
    records, times, whole = _one_by_one(documents.records(data, WHOLE, limits), name, into)
    if records:
        into.extend(columns(Decoded(records, WHOLE), np.array(times, np.int64), WHOLE, into))
    return whole


def _at_once(data: bytes, into: BatchBuilder, limits: Limits) -> bool:
    """Add all records of a document together, if every one is in order."""

    def read(asked: Shape) -> Members | None:
        return documents.members(data, asked, limits)

    asked = shape(into.columns)
    return _add(read(asked), asked, read, into)


def _add(members: Members | None, asked: Shape, again: Callable[[Shape], Members | None], into: BatchBuilder) -> bool:
    """Add these records, if every one is in order: has a time, an id, and texts where texts belong.

    again: reads them in another shape.
    """
    try:
        if members is not None and (more := _missing(members, asked)):
            asked = shape(asked.columns | more)
            members = again(asked)
        if members is None or not members.identified():
            return False
        time = members.times()
        if time.min(initial=0) < 0:
            return False
        piece = columns(members, time, asked, into)
    except UNDECODABLE:  # a text that is none: shows when it is looked at
        return False
    into.extend(piece)
    return True


def _missing(members: Members, asked: Shape) -> set[str]:
    """What these records have to be read with all the same: members that few records need."""
    operation = operations(members)
    linked = (operation == Operation.copy).any() or members.begins("sourceIPAddress", INTERNAL).any()
    hidden = not asked.columns.intersection(PLACE_COLUMNS) and hides_bucket(members, operation)
    return ({LINK} if linked and LINK not in asked.columns else set()) | ({*PLACE_COLUMNS} if hidden else set())


def _one_by_one(found: Any, name: str, into: BatchBuilder) -> tuple[list[Any], list[int], bool]:
    """The records that have a time, or need none, with their times; the others are rejected. Each gets an id."""
    records, times, whole, position = [], [], True, 0
    for record in found:
        position += not (isinstance(record, Trouble) and record.reason == UNCLOSED)
        if isinstance(record, Trouble):
            whole = whole and record.reason not in {BROKEN, UNCLOSED}
            if record.reason != UNCLOSED:
                into.reject(name, position, *record)
            continue
        when = record.eventTime or record.timestamp
        second, skip = seconds(when), skip_of(record.eventType, record.eventCategory)
        if second < 0 and not skip:
            into.reject(name, position, "bad_event_time" if when else "no_event_time", when or "")
            continue
        record.eventID = _own_id(record, skip)
        records.append(record)
        times.append(max(second, 0))
    return records, times, whole


def _own_id(record: Any, skip: Skip) -> str:
    """A record's id; without one it is named by its content. Aggregated records spell `eventId`."""
    of_summary = record.eventId if skip in {Skip.aggregated, Skip.insight} else None
    return (
        record.eventID
        or of_summary
        or record.sharedEventID
        or (record.addendum and record.addendum.originalEventID)
        or _content_id(record)
    )


def _content_id(record: Any) -> str:
    """However its identity was spelled (with spaces, members we do not read, numbers for texts), it is read alike."""
    record.userIdentity = msgspec.Raw(msgspec.json.encode(decoded(bytes(record.userIdentity))))
    return xxh64_hexdigest(msgspec.json.encode(record))
