"""Many files' records on their way into one batch: rows, pieces of columns and rejects. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from detector.core.access import (
    ALL_DIFFERENT,
    COLUMNS,
    I32,
    I64,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    U64,
    AccessBatch,
    Column,
    Index,
    Log,
    Mask,
    Reject,
    Row,
    intern,
    unresolved,
)
from detector.core.met import met
from detector.core.principal import Principal, prints_of
from detector.core.principals import Principals, Unread
from detector.core.window import grouped

if TYPE_CHECKING:
    from detector.core.sought import Sought  # knows rules, which whoever only reads logs does without

ARRAYS = (
    "time", "id", "link", "skip", "log", "operation", "outcome", "bytes", "who", "has_arn", "unresolved",
)  # fmt: skip
"""The first fields of a batch: one array each, filled whatever is asked for."""
_NO_PRINTS = np.zeros(0, np.uint64)


class Waiting(Protocol):
    """Rows that a parser has found, and makes columns of with those of further files."""

    def __len__(self) -> int: ...
    def settle(self) -> None:
        """Add them now; none is left."""


class BatchBuilder:
    """Collects rows, pieces of columns and rejects of many files into one batch.

    columns: what is asked of the parsers (COLUMNS: all). sought: which rows are; a parser may leave out others.
    first, last: epoch seconds of what was added since `begin`, None if nothing was. told: as in `sought.People`.
    waiting: what is yet to be added, before anything else is; its parser has said its `span` already.
    """

    def __init__(self, columns: frozenset[str] = COLUMNS, sought: Sought | None = None) -> None:
        self._code: I32
        self.columns = columns
        self.sought = sought
        self.first: int | None = None
        self.last: int | None = None
        self.waiting: Waiting | None = None
        self._clear()

    def __len__(self) -> int:
        return self.rows + len(self.rejects)

    @property
    def rows(self) -> int:
        """Records that could be read."""
        return self._length + len(self._rows) + (len(self.waiting) if self.waiting is not None else 0)

    def begin(self) -> None:
        """A new file begins: `first` and `last` are its own."""
        self.first = self.last = None

    def add(self, row: Row) -> None:
        """Take in a record that could be read."""
        self.settle()
        self._rows.append(row)
        if row.time:
            self._spans(row.time, row.time)

    def extend(self, piece: AccessBatch) -> None:
        """Take in rows as columns, at least `columns`; their `who` are codes that this builder gave."""
        self._turn_rows()
        self._pieces.append(piece)
        self._length += len(piece)
        self.span(piece.time)

    def span(self, times: I64) -> None:
        """The file that was begun has records of these times; 0 is none."""
        times = times[times > 0]
        if len(times):
            self._spans(int(times.min()), int(times.max()))

    def settle(self) -> None:
        """Have what waits added: it is of files before."""
        if self.waiting is not None and len(self.waiting):
            own = self.first, self.last
            self.waiting.settle()
            self.first, self.last = own

    def reject(self, file: str, position: int, reason: str, detail: str = "") -> None:
        """Take note of a record that could not be read; `detail` is cut to 200 characters."""
        self.rejects.append(Reject(file, position, reason, detail[:200]))

    def mark(self) -> tuple[int, int, int]:
        """Where the builder stands: `undo` goes back to it."""
        self._turn_rows()
        return len(self._pieces), self._length, len(self.rejects)

    def undo(self, mark: tuple[int, int, int]) -> None:
        """Take out everything that came after a mark."""
        self.waiting = None
        pieces, self._length, rejects = mark
        del self._rows[:], self._pieces[pieces:], self.rejects[rejects:]

    def codes(self, people: Sequence[Principal | None]) -> I32:
        """The codes of these principals in this batch; -1 for None."""
        codes, distinct = intern(people)
        prints = np.frombuffer(prints_of(distinct), np.uint64)
        return np.append(self.codes_of(prints, distinct), np.int32(-1))[codes]

    def who_of(self, batch: AccessBatch) -> I32:
        """Who made the requests of another batch, as codes of this one."""
        codes = self.codes_of(batch.prints, batch.principals.held())
        return np.append(codes, np.int32(-1))[batch.who]

    def codes_of(self, prints: U64, principals: Iterable[Principal | Unread]) -> I32:
        """Codes of principals with these fingerprints. Who has several codes has one in the end."""
        first = len(self._principals)
        self._principals += principals
        self._prints.append(prints)
        return np.arange(first, first + len(prints), dtype=np.int32)

    def prints(self, first: int = 0) -> U64:
        """Fingerprints of the principals of all codes from this one on."""
        return np.concatenate([_NO_PRINTS, *self._prints])[first:]

    def principal(self, code: int) -> Principal:
        """The principal of a code."""
        held = self._principals[code]
        return held.read(held.text) if isinstance(held, Unread) else held

    def known(
        self,
        hashes: U64,
        read: Callable[[Index], tuple[U64, Mask]],
        principals: Callable[[Index], Iterable[Principal | Unread]],
    ) -> I32:
        """Of identities twice a code, plus one where the ARN is named; -1: nobody.

        hashes: distinct keyed hashes of the log's texts, none of them 0. read: fingerprints (0: nobody) of those at
        these indices, new to this process, and whether their ARN is named. principals: of those new to the batch.
        """
        told = self._met.told(hashes)
        new = np.flatnonzero(told < 0)
        if len(new):
            told[new] = self._met.meet(hashes[new], *read(new))
        if len(self._met) > len(self._code):
            self._code = np.append(self._code, np.full(len(self._met), -1, np.int32))
        number = told >> 1
        new = np.flatnonzero((told >= 0) & (self._code[number] < 0))
        if len(new):
            self._code[number[new]] = self.codes_of(self._met.prints(number[new]), principals(new))
        return np.where(told < 0, np.int32(-1), self._code[number] << 1 | (told & 1).astype(np.int32))

    def build(self) -> AccessBatch:
        """The batch of all that was added so far; the builder is empty afterwards."""
        self._turn_rows()
        whole = concat(self._pieces or [self.turned([])], self.columns)
        who, held, prints = _each_once(whole.who, self._principals, self.prints())
        batch = replace(whole, who=who, principals=Principals(held), prints=prints, rejects=self.rejects)
        self._clear()
        return batch

    def _clear(self) -> None:
        self._met = met()
        self._code = np.full(1, -1, np.int32)
        self._prints: list[U64] = []
        self.told: dict[str, Mask] = {}
        self.rejects: list[Reject] = []
        self._rows: list[Row] = []
        self._pieces: list[AccessBatch] = []
        self._principals: list[Principal | Unread] = []
        self._length = 0

    def _spans(self, first: int, last: int) -> None:
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)

    def _turn_rows(self) -> None:
        self.settle()
        if self._rows:
            rows, self._rows = self._rows, []
            self._length += len(rows)
            self._pieces.append(self.turned(rows))

    def turned(self, rows: Sequence[Row]) -> AccessBatch:
        """Rows as columns, to be taken in by `extend`."""
        turned = zip(*rows, strict=True) if rows else ((),) * len(Row._fields)
        columns: dict[str, tuple[Any, ...]] = dict(zip(Row._fields, turned, strict=True))
        operation, log = np.array(columns["operation"], np.int8), np.array(columns["log"], np.int8)
        nameless = np.array([bucket is None for bucket in columns["bucket"]], np.bool_) & (log != Log.access_audit)
        keyed = np.array([key is not None for key in columns["key"]], np.bool_)
        return AccessBatch(
            time=np.array(columns["time"], np.int64),
            id=np.array(columns["id"], np.uint64),
            link=np.array(columns["link"], np.uint64),
            skip=np.array(columns["skip"], np.int8),
            log=log,
            operation=operation,
            outcome=np.array(columns["outcome"], np.int8),
            bytes=np.array(columns["bytes"], np.int64) if "bytes" in self.columns else np.zeros(len(rows), np.int64),
            who=self.codes(columns["who"]),
            has_arn=np.array(columns["has_arn"], np.bool_),
            unresolved=unresolved(operation, nameless, keyed),
            principals=Principals(),
            prints=np.zeros(0, np.uint64),
            partition=Column.of(columns["partition"]),
            text={n: Column.of(columns[n], distinct=n in ALL_DIFFERENT) for n in TEXT_COLUMNS if n in self.columns},
            number={n: np.array(columns[n], np.int64) for n in NUMBER_COLUMNS if n in self.columns},
        )


def _each_once(who: I32, held: list[Principal | Unread], prints: U64) -> tuple[I32, Sequence[Principal | Unread], U64]:
    """The same with one code for each fingerprint."""
    _, first, number = grouped(prints)
    if len(first) == len(prints):
        return who, held, prints
    kept = np.sort(first)
    codes = np.append(np.searchsorted(kept, first)[number].astype(np.int32), np.int32(-1))
    return codes[who], [held[one] for one in kept.tolist()], prints[kept]


def concat(pieces: Sequence[AccessBatch], columns: frozenset[str]) -> AccessBatch:
    """These columns of pieces of one builder, one piece after the other; without principals and rejects."""
    return AccessBatch(
        **{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in ARRAYS},
        principals=Principals(),
        prints=np.zeros(0, np.uint64),
        partition=Column.concat([piece.partition for piece in pieces]),
        text={n: Column.concat([piece.text[n] for piece in pieces]) for n in TEXT_COLUMNS if n in columns},
        number={n: np.concatenate([piece.number[n] for piece in pieces]) for n in NUMBER_COLUMNS if n in columns},
        rejects=[],
    )
