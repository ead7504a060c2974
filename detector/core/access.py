"""What a record is: the columns of an `AccessBatch`, their types and units. Pure.

Rules of this file
- A batch is a struct of arrays. Text is dictionary-encoded (`Column`), identities are codes into `principals`.
- A row is a record that could be read. `skip` tells the rows that are not about S3 access; they carry only
  `time`, `id` and `partition`, because they too may be duplicates and they too show that a source is alive.
- What could not be read is no row but a `Reject` with its file, position and reason.
- Parsers build batches through `BatchBuilder` (`builder.py`), row by row or as pieces of columns; nothing else makes
  rows.
- A batch has the columns that the rules at hand ask for (`projection.py`), not all that a record could fill.

`records == len(batch) + len(batch.rejects)`: the books balance from the first step on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import count
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from detector.core.principal import Principal
from detector.core.principals import Principals

T = TypeVar("T")
_NULL = np.full(1, -1, np.int32)
MAX_BYTES = 1 << 46
"""More bytes than any object has (70 TB): a log that says more is forged, and must not overflow a sum."""
MOST = (1 << 64) - 1
"""The largest hash."""
OBJECT_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]
Rows = Index | Mask


class Log(IntEnum):
    """Kind of log a record came from."""

    cloudtrail = 0
    server_access = 1
    access_audit = 2


class Operation(IntEnum):
    """Class of an operation. `read`: bytes left; a `copy` is a read too (see select)."""

    other = 0
    read = 1
    copy = 2
    restore = 3
    list = 4
    head = 5
    write = 6
    delete = 7
    decrypt = 8
    control = 9
    assume = 10


class Outcome(IntEnum):
    """success: 2xx or no error code; denied: 401, 403, AccessDenied, Unauthorized; error: all else, 304 and 404 too."""

    success = 0
    denied = 1
    error = 2


class Skip(IntEnum):
    """Why a valid record is no access event; `no` is an access event."""

    no = 0
    not_s3 = 1
    aggregated = 2
    insight = 3
    network_activity = 4
    service_event = 5
    internal_read_of_copy = 6
    other_log_preferred = 7
    outside_period = 8


@dataclass(slots=True)
class Column:
    """Dictionary-encoded text: row i holds `values[codes[i]]`, or null where the code is -1.

    A value may stand in the dictionary more than once: columns of keys, no two alike, are not worth interning.
    """

    codes: I32
    values: list[str]
    _hashed: list[U64] = field(default_factory=list, repr=False, compare=False)  # at most one: the values' hashes

    def take(self, rows: Rows) -> Column:
        """The column of the chosen rows, over the same dictionary."""
        return Column(self.codes[rows], self.values, self._hashed)

    def text(self, row: int) -> str | None:
        """The text of one row."""
        code = self.codes[row]
        return None if code < 0 else self.values[code]

    def texts(self) -> list[str | None]:
        """The text of every row."""
        texts: list[str | None] = [*self.values, None]
        return [texts[code] for code in self.codes.tolist()]

    def filled(self, text: str) -> Column:
        """The column with this text in place of null."""
        return Column(np.where(self.codes < 0, np.int32(len(self.values)), self.codes), [*self.values, text])

    def but(self, rows: Index | Sequence[int], texts: Sequence[str | None]) -> Column:
        """The column with these texts in these rows."""
        coded, new = intern(texts)
        codes = self.codes.copy()
        codes[rows] = np.where(coded < 0, coded, coded + np.int32(len(self.values)))
        hashed = [np.insert(one, -1, text_hashes(new)) for one in self._hashed]
        return Column(codes, [*self.values, *new], hashed)

    def are(self, text: str) -> Mask:
        """The rows that hold this text."""
        return self.fit(text.__eq__)

    def fit(self, test: Callable[[str], bool]) -> Mask:
        """The rows whose text passes, which is looked at once for each value; null does not."""
        return np.array([*map(test, self.values), False], np.bool_)[self.codes]

    def hashes(self) -> U64:
        """xxh64 of every row's text; 0 for null."""
        return self._of_values()[self.codes]

    def _of_values(self) -> U64:
        if not self._hashed:
            self._hashed.append(np.append(text_hashes(self.values), np.uint64(0)))
        return self._hashed[0]

    @property
    def hashed(self) -> U64 | None:
        """xxh64 of each text of the dictionary, if they were made already."""
        return self._hashed[0][:-1] if self._hashed else None

    def each(self) -> Column:
        """A row of each text that there is, in the order of the dictionary."""
        return Column(present(self.codes, len(self.values)).astype(np.int32), self.values, self._hashed)

    def smallest(self, rows: Index, count: int, most: int = MOST) -> dict[str, int]:
        """Of the texts of these rows those with the smallest hashes, and these: at most so many, none above `most`."""
        codes = present(self.codes[rows], len(self.values))
        every = self._of_values()[codes]
        near = every <= np.uint64(most)
        hashes, first = np.unique(every[near], return_index=True)
        texts = [self.values[code] for code in codes[near][first[:count]].tolist()]
        return dict(zip(texts, hashes[:count].tolist(), strict=True))

    @classmethod
    def null(cls, count: int) -> Column:
        """A column of nothing."""
        return cls(np.full(count, -1, np.int32), [])

    @classmethod
    def of(cls, texts: Sequence[str | None], *, distinct: bool = False) -> Column:
        """These texts as a column. `distinct`: hardly two of them are alike."""
        if distinct and None not in texts:
            return cls(np.arange(len(texts), dtype=np.int32), list(texts))  # type: ignore[arg-type]
        if texts and texts.count(texts[0]) == len(texts):
            one = texts[0]
            return cls(np.full(len(texts), -1 if one is None else 0, np.int32), [] if one is None else [one])
        return cls(*intern(texts))

    @classmethod
    def concat(cls, columns: Sequence[Column]) -> Column:
        """These columns one after the other, over one dictionary."""
        index: dict[str, int] = {}
        values: list[str] = []
        tables, last = [], None
        for column in columns:
            if len(column.values) * 2 > len(column.codes):
                table, last = np.arange(len(values), len(values) + len(column.values), dtype=np.int32), None
                values += column.values
            elif column.values != last:
                last = column.values
                new = [value for value in last if value not in index]
                index.update(zip(new, range(len(values), len(values) + len(new)), strict=True))
                values += new
                table = np.fromiter(map(index.__getitem__, last), np.int32, len(last))
            tables += [_NULL, table]
        ends = np.cumsum([len(column.values) + 1 for column in columns])  # of each one's part of all tables
        firsts = ends - [len(column.values) for column in columns]
        codes = np.concatenate([column.codes for column in columns])
        at = codes + np.repeat(firsts, [len(column.codes) for column in columns])
        hashed = [one for column in columns if (one := column.hashed) is not None]
        kept = len(hashed) == len(columns) and sum(map(len, hashed)) == len(values)  # each text as it came
        return cls(
            np.concatenate(tables)[at], values, [np.append(np.concatenate(hashed), np.uint64(0))] if kept else []
        )


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be read. `position`: record number (CloudTrail), line (access log) or row, from 1."""

    file: str
    position: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AccessBatch:
    """n records as columns.

    time: epoch seconds. id: 64-bit hash of the dedup id. link: for a copy and for the read AWS makes on its behalf the
    hash of their common `x-amz-id-2`, else 0. bytes: bytes sent to the requester. who: row → principals.
    prints: fingerprint of every principal. has_arn: the record itself names the caller's ARN (the better of copies).
    unresolved: it accessed an object, and does not show of which bucket. partition: "account/region" of the delivery,
    for the watermark. text, number: the columns that were asked of the parser, and no others; `bytes` is 0 and
    `partition` the same for all where they were not asked for.
    """

    time: I64
    id: U64
    link: U64
    skip: I8
    log: I8
    operation: I8
    outcome: I8
    bytes: I64
    who: I32
    has_arn: Mask
    unresolved: Mask
    principals: Principals
    prints: U64
    partition: Column
    text: dict[str, Column]
    number: dict[str, I64]
    rejects: list[Reject] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.time)

    def object_hash(self, rows: Rows) -> U64:
        """64-bit hash of (bucket, key) of the chosen rows, 0 where there is no key: what `objects` counts."""
        bucket, key = self.text["bucket"].take(rows), self.text["key"].take(rows)
        return np.where(key.codes < 0, np.uint64(0), bucket.hashes() * OBJECT_MIX + key.hashes())

    def cut(self, columns: frozenset[str]) -> AccessBatch:
        """The batch as it would be if only these columns had been asked for."""
        return replace(
            self,
            bytes=self.bytes if "bytes" in columns else np.zeros_like(self.bytes),
            partition=self.partition if "partition" in columns else Column(np.zeros(len(self), np.int32), [""]),
            text={name: column for name, column in self.text.items() if name in columns},
            number={name: column for name, column in self.number.items() if name in columns},
        )

    def requests(self) -> AccessBatch:
        """What AWS logged: without what the application says of itself, which proves no request."""
        told = self.log == Log.access_audit
        return self.take(~told) if told.any() else self

    def take(self, rows: Rows) -> AccessBatch:
        """The chosen rows, without the rejects."""
        return AccessBatch(
            self.time[rows], self.id[rows], self.link[rows], self.skip[rows], self.log[rows], self.operation[rows],
            self.outcome[rows], self.bytes[rows], self.who[rows], self.has_arn[rows], self.unresolved[rows],
            self.principals, self.prints, self.partition.take(rows), {n: c.take(rows) for n, c in self.text.items()},
            {n: c[rows] for n, c in self.number.items()},
        )  # fmt: skip


class Row(NamedTuple):
    """One readable record on its way into a batch: the columns of `AccessBatch`, then the text, then the numbers."""

    log: Log
    time: int
    id: int
    partition: str
    skip: Skip = Skip.no
    link: int = 0
    operation: Operation = Operation.other
    outcome: Outcome = Outcome.success
    bytes: int = 0
    who: Principal | None = None
    has_arn: bool = False
    api: str | None = None
    bucket: str | None = None
    key: str | None = None
    destination: str | None = None
    source_ip: str | None = None
    user_agent: str | None = None
    auth: str | None = None
    event_id: str | None = None
    request_id: str | None = None
    region: str | None = None
    access_point: str | None = None
    vpc_endpoint: str | None = None
    tls: str | None = None
    sse: str | None = None
    kms_key: str | None = None
    version_id: str | None = None
    purpose: str | None = None
    log_operation: str | None = None
    sample_id: str | None = None
    error_code: str | None = None
    bucket_account: str | None = None
    destination_account: str | None = None
    change: str | None = None
    destination_key: str | None = None
    began: str | None = None
    began_arn: str | None = None
    began_key: str | None = None
    status: int = -1
    signed_at: int = -1
    signed_for: int = -1


NUMBER_COLUMNS = ("status", "signed_at", "signed_for")
"""Nullable whole numbers of a row (-1 is null): HTTP status, epoch seconds, seconds."""

TEXT_COLUMNS = Row._fields[Row._fields.index("api") : Row._fields.index("status")]
"""Text columns of a row, named as in the access-record Parquet; `log_operation` is the access log's own spelling,
`sample_id` the application's own name of an object; `bucket_account`, `destination_account`: who owns the bucket;
`change`: what a change of settings does, words with spaces between; `destination_key`: the key a copy was written
under; `began`, `began_arn`, `began_key`: of an `assume` the session that it began: principal id, ARN, access key.
"""

COLUMNS = frozenset({*TEXT_COLUMNS, *NUMBER_COLUMNS, "bytes", "partition"})
"""The columns that a parser fills only if they are asked for; `partition` is asked for where time has a watermark."""

ALL_DIFFERENT = frozenset({"key", "event_id", "request_id", "version_id", "sample_id"})
"""Text columns in which hardly two rows are alike."""

OF_OBJECTS = np.zeros(len(Operation), np.bool_)
"""By class of operation: whether it is about objects."""
OF_OBJECTS[[Operation.read, Operation.copy, Operation.restore, Operation.list, Operation.write, Operation.delete]] = (
    True
)


def unresolved(operation: I8, nameless: Mask, keyed: Mask) -> Mask:
    """Which operations on objects do not show the bucket. nameless: rows without a bucket; keyed: rows with a key."""
    found: Mask = OF_OBJECTS[operation] & nameless & (keyed | (operation == Operation.copy))
    return found


def present(codes: I32 | I8, count: int) -> Index:
    """Of the codes below `count` those that there are, in order; -1 is none of them."""
    there = np.zeros(count + 1, np.bool_)
    there[codes] = True
    return np.flatnonzero(there[:-1])


def renumbered(codes: I32, kept: Index, count: int) -> I32:
    """Codes below `count` as their places among those that are kept; -1 for the others, as for null."""
    number = np.full(count + 1, -1, np.int32)  # the last is null's, whose code is -1
    number[kept] = np.arange(len(kept), dtype=np.int32)
    return number[codes]


def intern(rows: Sequence[T | None]) -> tuple[I32, list[T]]:
    """Codes of the rows' values in order of first appearance, -1 for None, and the distinct values."""
    codes: defaultdict[T | None, int] = defaultdict(count().__next__, {None: -1})
    coded = np.fromiter(map(codes.__getitem__, rows), np.int32, len(rows))
    return coded, [value for value in codes if value is not None]


def text_hash(text: str) -> int:
    """xxh64 of a text: ids that AWS makes, and members of distinct counts."""
    return xxhash.xxh64_intdigest(text.encode("utf-8", "surrogatepass"))


def text_hashes(texts: Sequence[str]) -> U64:
    """`text_hash` of each of these texts."""
    try:
        return np.fromiter(map(xxhash.xxh64_intdigest, map(str.encode, texts)), np.uint64, len(texts))
    except UnicodeEncodeError:  # a lone surrogate
        return np.fromiter(map(text_hash, texts), np.uint64, len(texts))
