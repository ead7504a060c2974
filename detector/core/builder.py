"""Many files' records on their way into one batch: rows, pieces of columns and rejects. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import (
    ALL_DIFFERENT,
    COLUMNS,
    I32,
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
    unresolved,
)
from detector.core.principal import Principal, print_of
from detector.core.principals import Principals, Unread
from detector.core.table import Table

if TYPE_CHECKING:
    from detector.core.sought import Sought  # knows rules, which whoever only reads logs does without

ARRAYS = (
    "time", "id", "link", "skip", "log", "operation", "outcome", "bytes", "who", "has_arn", "unresolved",
)  # fmt: skip
"""The first fields of a batch: one array each, filled whatever is asked for."""


class BatchBuilder:
    """Collects rows, pieces of columns and rejects of many files into one batch.

    columns: what is asked of the parsers (COLUMNS: all). sought: which rows are; a parser may leave out others.
    first, last: epoch seconds of what was added since `begin`, None if nothing was. told: as in `sought.People`.
    """

    def __init__(self, columns: frozenset[str] = COLUMNS, sought: Sought | None = None) -> None:
        self.columns = columns
        self.sought = sought
        self.first: int | None = None
        self.last: int | None = None
        self._clear()

    def __len__(self) -> int:
        return self.rows + len(self.rejects)

    @property
    def rows(self) -> int:
        """Records that could be read."""
        return self._length + len(self._rows)

    def begin(self) -> None:
        """A new file begins: `first` and `last` are its own."""
        self.first = self.last = None

    def add(self, row: Row) -> None:
        """Take in a record that could be read."""
        self._rows.append(row)
        if row.time:
            self._span(row.time, row.time)

    def extend(self, piece: AccessBatch) -> None:
        """Take in rows as columns, at least `columns`; their `who` are codes that `code` gave."""
        self._turn_rows()
        self._pieces.append(piece)
        self._length += len(piece)
        times = piece.time[piece.time > 0]
        if len(times):
            self._span(int(times.min()), int(times.max()))

    def reject(self, file: str, position: int, reason: str, detail: str = "") -> None:
        """Take note of a record that could not be read; `detail` is cut to 200 characters."""
        self.rejects.append(Reject(file, position, reason, detail[:200]))

    def mark(self) -> tuple[int, int, int]:
        """Where the builder stands: `undo` goes back to it."""
        self._turn_rows()
        return len(self._pieces), self._length, len(self.rejects)

    def undo(self, mark: tuple[int, int, int]) -> None:
        """Take out everything that came after a mark."""
        pieces, self._length, rejects = mark
        del self._rows[:], self._pieces[pieces:], self.rejects[rejects:]

    def code(self, principal: Principal) -> int:
        """The code of a principal in this batch."""
        return self.codes_of([print_of(principal)], lambda _: [principal])[0]

    def codes_of(
        self, prints: Sequence[int], principals: Callable[[list[int]], Iterable[Principal | Unread]]
    ) -> list[int]:
        """The codes of the principals with these fingerprints. `principals`: at these indices, new to the batch."""
        codes = self._codes
        new = {print_: index for index, print_ in enumerate(prints) if print_ not in codes}
        codes.update(zip(new, range(len(codes), len(codes) + len(new)), strict=True))
        self._principals += principals(list(new.values())) if new else []
        return list(map(codes.__getitem__, prints))

    def prints(self, first: int = 0) -> U64:
        """Fingerprints of the principals of all codes from this one on."""
        return np.fromiter(islice(self._codes, first, None), np.uint64, len(self._codes) - first)

    def principal(self, code: int) -> Principal:
        """The principal of a code."""
        held = self._principals[code]
        return held.read(held.text) if isinstance(held, Unread) else held

    def known(self, hashes: U64, read: Callable[[Index], I32]) -> I32:
        """Of identities twice the code that `codes_of` gave, plus one where the ARN is named; -1: nobody.

        hashes: distinct keyed hashes of the log's texts, none of them 0. read: the same of those at these indices, new
        to the batch.
        """
        found = self._known.values_of(hashes).astype(np.int32) - 1
        new = np.flatnonzero(found < 0)
        if len(new):
            found[new] = read(new)
            somebody = new[found[new] >= 0]
            self._known.put(hashes[somebody], (found[somebody] + 1).astype(np.uint64))
        return found

    def build(self) -> AccessBatch:
        """The batch of all that was added so far; the builder is empty afterwards."""
        self._turn_rows()
        whole = concat(self._pieces or [self.turned([])], self.columns)
        batch = replace(whole, principals=Principals(self._principals), prints=self.prints(), rejects=self.rejects)
        self._clear()
        return batch

    def _clear(self) -> None:
        self._known = Table()
        self.told: dict[str, Mask] = {}
        self.rejects: list[Reject] = []
        self._rows: list[Row] = []
        self._pieces: list[AccessBatch] = []
        self._codes: dict[int, int] = {}
        self._principals: list[Principal | Unread] = []
        self._length = 0

    def _span(self, first: int, last: int) -> None:
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)

    def _turn_rows(self) -> None:
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
            who=np.array([-1 if who is None else self.code(who) for who in columns["who"]], np.int32),
            has_arn=np.array(columns["has_arn"], np.bool_),
            unresolved=unresolved(operation, nameless, keyed),
            principals=Principals(),
            prints=np.zeros(0, np.uint64),
            partition=Column.of(columns["partition"]),
            text={n: Column.of(columns[n], distinct=n in ALL_DIFFERENT) for n in TEXT_COLUMNS if n in self.columns},
            number={n: np.array(columns[n], np.int64) for n in NUMBER_COLUMNS if n in self.columns},
        )


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
