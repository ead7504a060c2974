"""What a file is read as, and what holds of every reading, whatever the bytes. Uses only what everybody may use of it.

A reading is taken from the batch that was built, never from the builder's inside: how rows get there is its business.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from detector.core.access import MAX_BYTES, AccessBatch, Column, Log, Operation, Outcome, Reject, Skip
from detector.core.builder import BatchBuilder
from detector.core.principal import Principal
from detector.logs.read import CLOUDTRAIL, Reading, read

NAME = "file"
LAST_SECOND, LONGEST_LIFE = 1 << 33, 1 << 32
RANGES = {
    "time": (0, LAST_SECOND), "skip": (0, len(Skip)), "log": (0, len(Log)), "operation": (0, len(Operation)),
    "outcome": (0, len(Outcome)), "bytes": (0, MAX_BYTES), "status": (-1, 1000), "signed_at": (-1, LAST_SECOND),
    "signed_for": (-1, LONGEST_LIFE),
}  # fmt: skip
"""Smallest value of a column, and what every value is below."""

AT_EVERY_LEVEL = 6
"""So many members of a principal are never empty: type, session, role, how both are shown, account."""


class BrokenError(AssertionError):
    """A property does not hold. The text says which: nothing of the input, so that like failures read alike."""


class Content(NamedTuple):
    """What a file was read as. A row is every column's value, texts and principals spelled out."""

    reading: Reading
    rows: list[tuple[Any, ...]]
    rejects: list[Reject]


def hold(holds: object, what: str) -> None:
    """Break off unless a property holds."""
    if not holds:
        raise BrokenError(what)


def content_of(data: bytes) -> Content:
    """What these bytes are read as."""
    into = BatchBuilder()
    reading = read(data, NAME, into)
    batch = into.build()
    return Content(reading, rows(batch), batch.rejects)


def check_reading(data: bytes) -> Content:
    """What these bytes are read as, once all is checked that holds of every reading."""
    into = BatchBuilder()
    reading = read(data, NAME, into)
    counted = len(into)
    batch = into.build()
    hold(counted == len(batch) + len(batch.rejects), "rows and rejects are not what the builder counted")
    hold(reading.kind or not counted, "a file that is no log added something")
    hold(bool(reading.kind) != bool(reading.reason), "either a kind or a reason")
    _texts(text for field in reading for text in ([field] if isinstance(field, str) else field))
    _bounds(batch)
    _skipped_rows_are_bare(batch)
    _principals(batch.principals)
    _rejects(batch.rejects, counted if reading.kind == CLOUDTRAIL else None)
    return Content(reading, rows(batch), batch.rejects)


def rows(batch: AccessBatch) -> list[tuple[Any, ...]]:
    """The rows of a batch, every column spelled out."""
    people = [*batch.principals, None]
    texts = [_spelled(column) for column in (batch.partition, *batch.text.values())]
    numbers: tuple[np.ndarray[Any, Any], ...] = (
        batch.time, batch.id, batch.link, batch.skip, batch.log, batch.operation, batch.outcome, batch.bytes,
        batch.has_arn, *batch.number.values(),
    )  # fmt: skip
    who = [people[code] for code in batch.who.tolist()]
    return list(zip(*(column.tolist() for column in numbers), who, *texts, strict=True))


def _spelled(column: Column) -> list[str | None]:
    values = [*column.values, None]
    return [values[code] for code in column.codes.tolist()]


def _bounds(batch: AccessBatch) -> None:
    for name, (low, high) in RANGES.items():
        column = batch.number[name] if name in batch.number else getattr(batch, name)
        hold(len(column) == len(batch), f"a column of another length: {name}")
        hold(((column >= low) & (column < high)).all(), f"out of bounds: {name}")
    for name, texts in {"partition": batch.partition, **batch.text}.items():
        hold(len(texts.codes) == len(batch), f"a column of another length: {name}")
        hold(((texts.codes >= -1) & (texts.codes < len(texts.values))).all(), f"a code without a text: {name}")
        _texts(texts.values)
    hold((batch.partition.codes >= 0).all(), "a row without a partition")
    hold(((batch.who >= -1) & (batch.who < len(batch.principals))).all(), "a code without a principal")


def _skipped_rows_are_bare(batch: AccessBatch) -> None:
    """A row that is no access event carries time, id and partition; an access event always has a principal."""
    skipped = batch.skip != Skip.no
    hold(((batch.who >= 0) | skipped).all(), "an access event without a principal")
    hold((batch.who[skipped] == -1).all(), "a skipped row with a principal")
    hold(not batch.bytes[skipped].any() and not batch.link[skipped].any(), "a skipped row with figures")
    for name, column in batch.text.items():
        hold((column.codes[skipped] == -1).all(), f"a skipped row with text: {name}")
    hold(all((column[skipped] == -1).all() for column in batch.number.values()), "a skipped row with numbers")


def _principals(principals: Iterable[Principal]) -> None:
    for who in principals:
        hold(all(isinstance(level, str) and level for level in who[:AT_EVERY_LEVEL]), "a level without a value")
        hold(who.issued_at is None or 0 <= who.issued_at < LAST_SECOND, "out of bounds: issued_at")
        hold(who.mfa in {None, True, False}, "mfa is neither true nor false nor unknown")
        _texts(part for part in who if isinstance(part, str))


def _rejects(rejects: list[Reject], records: int | None) -> None:
    """`records`: how many there are, where positions count records."""
    positions = [reject.position for reject in rejects]
    hold(all(a < b for a, b in pairwise([0, *positions])), "positions of rejects do not rise")
    hold(records is None or not positions or positions[-1] <= records, "a reject behind the last record")
    hold(all(reject.file == NAME and reject.reason for reject in rejects), "a reject without file or reason")
    _texts(text for reject in rejects for text in (reject.reason, reject.detail))


def _texts(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BrokenError("a text that is no valid UTF-8") from error


def same(one: Content, other: Content, what: str) -> None:
    """Two ways to read one thing gave the same rows and the same rejects."""
    hold(one.rows == other.rows, f"{what}: other rows")
    hold(one.rejects == other.rejects, f"{what}: other rejects")
