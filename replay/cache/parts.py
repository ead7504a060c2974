"""Parts of a cache of parsed records: each is the distinct access records of some log files, and what else was in them.

Rules of this file
- A part is up to seven files. `.parquet`: the access records that count, the contract's access-record Parquet. `.ids`:
  their ids, so that copies in other files are known. `.aside`: records that do not count because of others (worse
  copies of one id, reads that AWS made for a copy), which a replay judges anew by its own columns. `.inputs`: the log
  files, what came of each, and the rejected records. `.sums` and `.reads`: what the records add up to (`summed`).
  `.who`: who is in which of their row groups (`indexed`).
- Records lie in the order of `ORDER`, in row groups of `GROUP`: those of a role or a session lie together, so a reader
  that asks for one reads hardly any others. A replay reads `PIECE` row groups together.
- Every file has a digest in the manifest (`kept`): what is damaged is never read as if it were whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detector.core.access import U64, AccessBatch, Index, Mask, Operation, Reject, Skip
from detector.core.books import Books
from detector.core.builder import BatchBuilder
from detector.core.coverage import Coverage
from detector.core.dedup import Verdict
from detector.core.parcel import pack
from detector.logs.parquet import to_table
from replay.reader import FileRead

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 1 << 17
"""Records of a part."""
GROUP, PIECE = 1 << 14, 4
"""Records of a row group, and row groups of a piece."""
ORDER = ("role", "session", "time")
"""How the records of a part are sorted."""


class Written(msgspec.Struct, frozen=True):
    """A file of a part: its name in the folder, its bytes, and the hash of them."""

    name: str
    size: int
    digest: str


class Span(msgspec.Struct, frozen=True):
    """A piece: first and last event time of its records, and its bytes."""

    first: int
    last: int
    size: int


class Part(msgspec.Struct, frozen=True):
    """What the manifest says of a part.

    left: books of what no replay looks at again. judged: books of all else, by all columns. logs: kinds of log read.
    """

    number: int
    records: Written
    ids: Written
    inputs: Written
    sums: Written
    reads: Written
    who: Written
    aside: Written | None
    pieces: list[Span]
    left: dict[str, Any]
    judged: dict[str, Any]
    logs: list[int]

    @property
    def files(self) -> list[Written]:
        """All its files."""
        every = (self.records, self.ids, self.inputs, self.sums, self.reads, self.who, self.aside)
        return [one for one in every if one is not None]


def _nothing() -> U64:
    return np.zeros(0, np.uint64)


@dataclass(slots=True)
class Ids:
    """Dedup ids, ranks and links of a part's records, in their order; then ids and ranks of copies that were like one.

    reads, copies: links of reads that AWS made for a copy, and of copies; 0 for all other records.
    """

    ids: U64 = field(default_factory=_nothing)
    ranks: U64 = field(default_factory=_nothing)
    reads: U64 = field(default_factory=_nothing)
    copies: U64 = field(default_factory=_nothing)
    same: U64 = field(default_factory=_nothing)
    same_ranks: U64 = field(default_factory=_nothing)

    @classmethod
    def of(cls, batch: AccessBatch, rank: U64) -> Ids:
        """Those of records."""
        copied, none = batch.operation == Operation.copy, np.uint64(0)
        return cls(batch.id, rank, np.where(copied, none, batch.link), np.where(copied, batch.link, none))

    @classmethod
    def together(cls, every: list[Ids]) -> Ids:
        """All of these, one after the other."""
        return cls(*(np.concatenate([_nothing(), *(getattr(one, f.name) for one in every)]) for f in fields(cls)))

    def take(self, rows: Index) -> Ids:
        """Those of the chosen records."""
        return Ids(self.ids[rows], self.ranks[rows], self.reads[rows], self.copies[rows], self.same, self.same_ranks)


@dataclass(slots=True)
class Content:
    """A part in memory. skipped, aside: parcels of records. judged: books of the table's and of those aside."""

    table: pa.Table
    ids: Ids
    skipped: list[bytes]
    aside: list[bytes]
    left: Books
    judged: Books


@dataclass(frozen=True, slots=True)
class Input:
    """What came of a log file. print: of its name, size and time, from before it was read."""

    read: FileRead
    print: int


class Gathered:
    """Records of log files on their way into a part."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.rejects: list[Reject] = []
        self.coverage = Coverage()
        self.logs: set[int] = set()
        self._tables: list[pa.Table] = []
        self._ids: list[Ids] = []
        self._skipped: list[bytes] = []
        self._aside: list[bytes] = []
        self._left, self._judged = Books(), Books()
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether it is enough for a part."""
        return self._size >= ROWS

    def add(self, batch: AccessBatch, rank: U64, verdict: Verdict) -> None:
        """Take in records, with their ranks and which of them are copies."""
        duplicate, differing = verdict
        same, skipped = duplicate & ~differing, ~duplicate & (batch.skip != Skip.no)
        self._add_events(batch, rank, ~duplicate & (batch.skip == Skip.no))
        self._ids.append(Ids(same=batch.id[same], same_ranks=rank[same]))
        self._skipped += _parcels(batch, skipped)
        self._aside += _parcels(batch, differing)
        self._left.records += len(batch.rejects) + int(same.sum()) + int(skipped.sum())
        self._left.duplicates += int(same.sum())
        self._left.skipped.update(reasons(batch.skip[skipped]))
        self._left.rejected.update(reject.reason for reject in batch.rejects)
        self._left.span(batch.time[batch.time > 0])
        self.rejects += sorted(batch.rejects, key=lambda r: (r.file, r.position))
        self.logs.update(np.unique(batch.log).tolist())
        self._size += len(batch) + len(batch.rejects)

    def _add_events(self, batch: AccessBatch, rank: U64, mask: Mask) -> None:
        rows = np.flatnonzero(mask)
        if len(rows):
            events = batch.take(rows)
            self._tables.append(to_table(events, of_objects=True))
            self._ids.append(Ids.of(events, rank[rows]))
            self._judged.unresolved_bucket += int(events.unresolved.sum())

    def content(self) -> Content:
        """All that was gathered."""
        table = joined(self._tables or [to_table(BatchBuilder().build(), of_objects=True)])
        return Content(table, Ids.together(self._ids), self._skipped, self._aside, self._left, self._judged)


def _parcels(batch: AccessBatch, mask: Mask) -> list[bytes]:
    return [pack(batch.take(np.flatnonzero(mask)))] if mask.any() else []


def reasons(skip: np.ndarray[Any, Any]) -> dict[str, int]:
    """How many were skipped for which reason."""
    codes, counts = np.unique(skip, return_counts=True)
    return {Skip(int(code)).name: int(count) for code, count in zip(codes, counts, strict=True)}


def joined(tables: list[pa.Table]) -> pa.Table:
    """Tables of access records as one."""
    import pyarrow as pa

    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()
