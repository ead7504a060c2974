"""What a record is: the columns of an `AccessBatch`, their types and units. Pure.

Rules of this file
- A batch is a struct of arrays. Text is dictionary-encoded (`Column`), identities are codes into `principals`.
- A row is a record that could be read. `skip` tells the rows that are not about S3 access; they carry only
  `time`, `id` and `partition`, because they too may be duplicates and they too show that a source is alive.
- What could not be read is no row but a `Reject` with its file, position and reason.
- Parsers build batches through `BatchBuilder`; nothing else makes rows.

`records == len(batch) + len(batch.rejects)`: the books balance from the first step on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from detector.core.principal import Principal

T = TypeVar("T")
MAX_BYTES = 1 << 46
"""More bytes than any object has (70 TB): a log that says more is forged, and must not overflow a sum."""
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
    """Dictionary-encoded text: row i holds `values[codes[i]]`, or null where the code is -1."""

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

    def hashes(self) -> U64:
        """xxh64 of every row's text; 0 for null."""
        if not self._hashed:
            table = np.fromiter((text_hash(v) for v in self.values), np.uint64, len(self.values))
            self._hashed.append(np.append(table, np.uint64(0)))
        return self._hashed[0][self.codes]


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
    has_arn: the record itself names the caller's ARN (the better of two copies). partition: "account/region" of the
    delivery, for the watermark.
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
    principals: list[Principal]
    partition: Column
    text: dict[str, Column]
    number: dict[str, I64]
    rejects: list[Reject] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.time)

    def object_hash(self, rows: Rows) -> U64:
        """64-bit hash of (bucket, key) of the chosen rows: what `objects` counts."""
        bucket, key = self.text["bucket"], self.text["key"]
        return bucket.take(rows).hashes() * OBJECT_MIX + key.take(rows).hashes()

    def take(self, rows: Rows) -> AccessBatch:
        """The chosen rows, without the rejects."""
        return AccessBatch(
            self.time[rows], self.id[rows], self.link[rows], self.skip[rows], self.log[rows], self.operation[rows],
            self.outcome[rows], self.bytes[rows], self.who[rows], self.has_arn[rows], self.principals,
            self.partition.take(rows), {n: c.take(rows) for n, c in self.text.items()},
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
    status: int = -1
    signed_at: int = -1
    signed_for: int = -1


NUMBER_COLUMNS = ("status", "signed_at", "signed_for")
"""Nullable whole numbers of a row (-1 is null): HTTP status, epoch seconds, seconds."""

TEXT_COLUMNS = Row._fields[Row._fields.index("api") : Row._fields.index("status")]
"""Text columns of a row, named as in the access-record Parquet; `log_operation` is the access log's own spelling."""


class BatchBuilder:
    """Collects rows and rejects of many files into one batch."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.rejects: list[Reject] = []

    def __len__(self) -> int:
        return len(self.rows) + len(self.rejects)

    def add(self, row: Row) -> None:
        """Take in a record that could be read."""
        self.rows.append(row)

    def reject(self, file: str, position: int, reason: str, detail: str = "") -> None:
        """Take note of a record that could not be read; `detail` is cut to 200 characters."""
        self.rejects.append(Reject(file, position, reason, detail[:200]))

    def build(self) -> AccessBatch:
        """The batch of all rows added so far; the builder is empty afterwards."""
        rows, rejects = self.rows, self.rejects
        self.rows, self.rejects = [], []
        turned = zip(*rows, strict=True) if rows else ((),) * len(Row._fields)
        columns: dict[str, tuple[Any, ...]] = dict(zip(Row._fields, turned, strict=True))
        who, principals = intern(columns["who"])
        return AccessBatch(
            time=np.array(columns["time"], np.int64),
            id=np.array(columns["id"], np.uint64),
            link=np.array(columns["link"], np.uint64),
            skip=np.array(columns["skip"], np.int8),
            log=np.array(columns["log"], np.int8),
            operation=np.array(columns["operation"], np.int8),
            outcome=np.array(columns["outcome"], np.int8),
            bytes=np.array(columns["bytes"], np.int64),
            who=who,
            has_arn=np.array(columns["has_arn"], np.bool_),
            principals=principals,
            partition=Column(*intern(columns["partition"])),
            text={name: Column(*intern(columns[name])) for name in TEXT_COLUMNS},
            number={name: np.array(columns[name], np.int64) for name in NUMBER_COLUMNS},
            rejects=rejects,
        )


def intern(rows: Sequence[T | None]) -> tuple[I32, list[T]]:
    """Codes of the rows' values in order of first appearance, -1 for None, and the distinct values."""
    values = [value for value in dict.fromkeys(rows) if value is not None]
    codes: dict[T | None, int] = {value: code for code, value in enumerate(values)}
    codes[None] = -1
    if not values:
        return np.full(len(rows), -1, np.int32), values
    return np.fromiter(map(codes.__getitem__, rows), np.int32, len(rows)), values


def text_hash(text: str) -> int:
    """xxh64 of a text: ids that AWS makes, and members of distinct counts."""
    return xxhash.xxh64_intdigest(text.encode("utf-8", "surrogatepass"))
