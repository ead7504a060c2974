"""Counts by who, where and from where, over kept access records: the sums of all parts together.

Rules of this file
- A cell is what one identity did in one place: `Who` (role or user, and session name) and a place (bucket, and the
  first folders of the key). Everything else is counted beside it, by identity.
- What the application says of itself (`access_audit`) is a second view of requests that AWS logged: it tells purposes
  and counts in no cell.
- Reads, objects and bytes are those that succeeded; `requests` are all.
- Sums are those of the whole cache (`replay.cache.whole`); where these do not tell cells apart as it is asked, those
  that each part has beside its records (`replay.cache.summed`); where these do not say enough (more folders, or whole
  keys), the records themselves are read. All ways give the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.core.access import I32, I64, U64, Column, Index, Log, Mask, Operation, Outcome, intern, renumbered
from detector.core.finding import shown
from detector.core.net import net_of
from detector.response.identity import INSTANCE, TASK
from replay.cache.summed import DEPTH, FIGURES, TABLES, Summed, Sums, cut, nothing, of_records
from replay.cache.whole import Rows, by, codes, distinct, people_of
from replay.columns import Piece, grouped, together
from replay.review.scope import LEAVES, Scopes, coded

if TYPE_CHECKING:
    from replay.cache.kept import Kept

PLACE = ("who", "bucket", "folder", "outside")
"""What tells cells apart. outside: 1 out of scope, -1 what the application tells of itself."""


class Who(NamedTuple):
    """An identity: the key of its role or user, and its session name; how it is shown."""

    role_key: str
    role: str
    session_name: str | None
    type: str
    account: str

    @property
    def of_machine(self) -> bool:
        """Whether its session name is one that EC2 or ECS give."""
        name = self.session_name or ""
        return bool(INSTANCE.fullmatch(name) or TASK.fullmatch(name))

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> Who:
        """Of the texts of `OF_WHO`."""
        key, role, name, type_, account = texts
        return cls(key or role or "", role or key or "", name, type_ or "unknown", account or "")


@dataclass(slots=True)
class Table:
    """Keys, identity first, and the sums of each."""

    keys: list[tuple[Any, ...]]
    sums: Sums

    def items(self) -> Iterator[tuple[tuple[Any, ...], int, int, int, int]]:
        """Key, requests, bytes, first, last."""
        yield from zip(self.keys, *(getattr(self.sums, name).tolist() for name in FIGURES), strict=True)


@dataclass(slots=True)
class Cells:
    """What identities did in places. by: numbers of `Usage.who`; where: of `Usage.places`; outside: of its scope."""

    by: I32
    where: I32
    outside: Mask
    sums: Sums

    def items(self, rows: Index) -> Iterator[tuple[int, ...]]:
        """Of these: identity, place, requests, bytes, first, last."""
        figures = (getattr(self.sums, name) for name in FIGURES)
        yield from zip(*(column[rows].tolist() for column in (self.by, self.where, *figures)), strict=True)


@dataclass(slots=True)
class Usage:
    """All parts together: cells, and tables by identity.

    denied, by_operation (successes of each class), objects (distinct ones that were read): by cell. longest: by
    identity, the greatest age of credentials in use, in seconds; -1 where no issue time is known.
    """

    who: list[Who]
    longest: list[int]
    places: list[tuple[str, str]]
    cells: Cells
    denied: I64
    by_operation: I64
    objects: I64
    sides: dict[str, Table]

    def side(self, name: str) -> Iterator[tuple[tuple[Any, ...], int, int, int, int]]:
        """A table by identity: keys (identity first), requests, bytes, first, last."""
        yield from self.sides[name].items() if name in self.sides else ()


def usage(kept: Kept, depth: int, scopes: Scopes) -> Usage:
    """Count kept records. depth: how many folders of a key are told apart."""
    if enough(depth, scopes):
        return of_whole(kept.whole(), depth, scopes) or added_up(kept.summed(), depth, scopes)
    return added_up(of_records(kept.files, scopes.looked_at), depth, scopes)


def enough(depth: int, scopes: Scopes) -> bool:
    """Whether the sums that are kept say enough."""
    return scopes.folders is not None and max(depth, scopes.folders) <= DEPTH


def added_up(parts: Iterable[Summed], depth: int, scopes: Scopes) -> Usage:
    """The sums of all parts together. Their folders are as deep as is asked for, or deeper."""
    gathering = _Gathering(depth, scopes)
    gathering.take(nothing())
    for part in parts:
        gathering.take(part)
    return gathering.usage()


def of_whole(whole: Summed, depth: int, scopes: Scopes) -> Usage | None:
    """By the sums of a whole cache; None: its places are not the cells that are asked for."""
    gathering = _Gathering(depth, scopes)
    gathering.take(whole)
    made, place = gathering.usage(), whole.tables["cells"]["place"].to_numpy()
    read = np.flatnonzero(place >= 0)
    cell, place = gathering.cells_of(0)[read].astype(np.int64), place[read]
    pairs = len(np.unique(cell * (len(whole.tables["cells"]) + 1) + place))
    if pairs > min(len(np.unique(cell)), len(np.unique(place))):
        return None
    made.objects[cell] = whole.tables["cells"]["objects"].to_numpy()[read]
    return made


class _Gathering:
    """Parts on their way into one usage."""

    def __init__(self, depth: int, scopes: Scopes) -> None:
        self._depth, self._scopes = depth, scopes
        self._at: dict[tuple[str, str | None], int] = {}
        self._told: dict[tuple[str | None, ...], int] = {}
        self._who: list[Who] = []
        self._longest: list[int] = []
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        self._cells = Rows((*PLACE, "operation", "outcome"))
        self._sides = {name: Rows(("who", *names)) for name, names in TABLES.items() if name != "cells"}
        self._sides |= {"owners": Rows(("who", "owner"))} if scopes.owners else {}
        self._reads: list[tuple[I32, U64]] = []
        self._cell_of: list[I32] = []

    def take(self, part: Summed) -> None:
        """Add a part."""
        texts = people_of(part)
        who = self._identities(texts, part.people["longest"].to_numpy())
        cells = Piece(part.tables["cells"])
        folder = cells.text("folder")
        for name, table in part.tables.items():
            if name != "cells":
                self._sides[name].add(by(table, who))
        if self._scopes.owners:
            self._sides["owners"].add(by(self._scopes.owned(cells, folder), who))
        self._place(cells, folder, who, self._scopes.outside(cells, folder, texts))
        self._reads.append((part.cell, part.object))

    def _identities(self, texts: Sequence[tuple[str | None, ...]], longest: I64) -> I32:
        """Their numbers here. Of several ways to show one the greatest counts: no order of parts matters."""
        numbers = []
        for told, age in zip(texts, longest.tolist(), strict=True):
            at = self._told.get(told, -1)
            if at < 0:
                at = self._told[told] = self._met(Who.of(told))
            self._longest[at] = max(self._longest[at], age)
            numbers.append(at)
        return np.array(numbers, np.int32)

    def _met(self, one: Who) -> int:
        at = self._at.setdefault((one.role_key, one.session_name), len(self._at))
        if at == len(self._who):
            self._who.append(one)
            self._longest.append(-1)
        self._who[at] = max(self._who[at], one)
        self._names[one.role_key].add(one.role)
        return at

    def _place(self, cells: Piece, folder: Column, who: I32, outside: Mask) -> None:
        """A part's cells, with their folders cut. Those of the application's log are kept apart, and never counted."""
        import pyarrow as pa

        told = cells.text("log").are(Log.access_audit.name)
        bucket = cells.text("bucket")
        columns: dict[str, Any] = {
            "bucket": _filled(bucket, bucket.values),
            "folder": _filled(folder, [cut(one, self._depth) for one in folder.values]),
            "outside": np.where(told, np.int32(-1), outside.astype(np.int32)),
        }
        columns |= {name: cells.table[name] for name in ("who", "operation", "outcome", *FIGURES)}
        self._cells.add(by(pa.table(columns), who))

    def usage(self) -> Usage:
        """All that was added."""
        names = {key: shown(names) for key, names in self._names.items()}
        who = [one._replace(role=names[one.role_key]) for one in self._who]
        sides = {name: _side(name, rows) for name, rows in self._sides.items()}
        return Usage(who, self._longest, sides=sides, **self._counted())

    def cells_of(self, part: int) -> I32:
        """Which cell each row of a part's cells has become, once they are counted; -1: none."""
        return self._cell_of[part]

    def _counted(self) -> dict[str, Any]:
        """Cells, and what is counted of each."""
        table, of_part = self._cells.whole()
        piece = Piece(table)
        cell, at = grouped([codes(piece, name) for name in PLACE])
        there = np.flatnonzero(codes(piece, "outside")[at] >= 0)
        cell, at, count = renumbered(cell, there, len(at)), at[there], len(there)
        rows = np.flatnonzero(cell >= 0)
        of_row, sums = cell[rows], Sums.of(table.take(rows))
        operation, outcome = (
            coded(piece.text(n), c)[rows] for n, c in (("operation", Operation), ("outcome", Outcome))
        )
        success = outcome == Outcome.success
        by_operation = np.zeros((count, len(Operation)), np.int64)
        np.add.at(by_operation, (of_row[success], operation[success]), sums.requests[success])
        denied = np.zeros(count, np.int64)
        np.add.at(denied, of_row[outcome == Outcome.denied], sums.requests[outcome == Outcome.denied])
        sums.bytes = np.where(success & LEAVES[operation], sums.bytes, 0)
        place, places = together([piece.text(name).take(at) for name in ("bucket", "folder")])
        who, outside = codes(piece, "who")[at], codes(piece, "outside")[at] > 0
        self._cell_of = [cell[one] for one in of_part]
        return {
            "places": places,
            "cells": Cells(who, place, outside, Sums.none(count).add(of_row, sums)),
            "denied": denied,
            "by_operation": by_operation,
            "objects": distinct([(of, *one) for of, one in zip(self._cell_of, self._reads, strict=True)], count),
        }


def _filled(column: Column, texts: Sequence[str]) -> Any:
    """Other texts in place of the column's, and an empty one for null."""
    import pyarrow as pa

    codes, values = intern([*texts, ""])  # the last is null's
    return pa.DictionaryArray.from_arrays(codes[column.codes], pa.array(values, pa.string()))


KEYS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "sources": lambda who, *source: (who, net_of(*source)),
    "began": lambda _, began, arn: (-1, (began or "").partition(":")[0], arn or ""),
}
"""Table → its key, of an identity and texts; else it is these. A source is a VPC endpoint, else a service, else a
network. Who began a session does not matter."""


def _side(name: str, rows: Rows) -> Table:
    table, _ = rows.whole()
    texts = [Piece(table).text(one).texts() for one in table.column_names if one not in ("who", *FIGURES)]
    columns, made = [table["who"].to_pylist(), *texts], KEYS.get(name)
    codes, keys = intern([*(map(made, *columns) if made else zip(*columns, strict=True))])
    return Table(keys, Sums.none(len(keys)).add(codes, Sums.of(table)))
