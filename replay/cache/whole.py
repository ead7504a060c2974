"""What the records of all parts of a cache add up to: an access review asks this first, and most ask no more.

Rules of this file
- The tables are those of a part (`summed`), of all parts as one. Rows of the same texts are one row.
- Of objects there is only how many distinct ones were read in each place: who, bucket and folder. Two columns of
  `cells` tell it: `place`, its number (-1: nothing was read), and `objects`. Who tells places apart otherwise asks the
  parts.
- Objects are told apart by as much of their hash as 64 bits leave beside the number of the place. They are counted a
  range of hashes at a time (`HELD`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import I32, I64, U64, Column, intern
from detector.logs.parquet import dictionary
from replay.cache.summed import FIGURES, LEAVES, OF_WHO, TABLES, Summed, Sums, nothing
from replay.columns import Piece, grouped, in_threads

if TYPE_CHECKING:
    import pyarrow as pa

HELD = 1 << 20
"""Reads of objects that are looked at together."""
ROWS = 1 << 18
"""Rows of a table that wait until those of the same texts are made one."""


def whole(parts: Iterable[Summed]) -> Summed:
    """All parts as one."""
    numbers: dict[tuple[str | None, ...], int] = {}
    longest: list[int] = []
    rows = {name: Rows(("who", *names)) for name, names in TABLES.items()}
    reads = []
    for part in chain([nothing()], parts):
        who = []
        for texts, age in zip(people_of(part), part.people["longest"].to_numpy().tolist(), strict=True):
            who.append(numbers.setdefault(texts, len(longest)))
            if who[-1] == len(longest):
                longest.append(-1)
            longest[who[-1]] = max(longest[who[-1]], age)
        for name, table in part.tables.items():
            rows[name].add(by(table, np.array(who, np.int32)))
        reads.append((part.cell, part.object))
    tables = {name: one.whole() for name, one in rows.items()}
    cells, of_part = tables["cells"]
    told = {name: table for name, (table, _) in tables.items()}
    told["cells"] = _with_places(cells, [*numbers], [(at, *one) for at, one in zip(of_part, reads, strict=True)])
    return Summed(_people([*numbers], longest), told, np.zeros(0, np.int32), np.zeros(0, np.uint64))


def people_of(part: Summed) -> list[tuple[str | None, ...]]:
    """The texts of `OF_WHO` of each identity."""
    return list(zip(*(Piece(part.people).text(name).texts() for name in OF_WHO), strict=True))


def _people(texts: Sequence[tuple[str | None, ...]], longest: Sequence[int]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {
        name: dictionary(Column.of([one[at] for one in texts])) for at, name in enumerate(OF_WHO)
    }
    return pa.table(columns | {"longest": pa.array(longest, pa.int64())})


def identity(texts: Sequence[str | None]) -> tuple[str, str | None]:
    """What tells an identity from others, of its texts: the key of its role or user, and its session name."""
    key, role, name, *_ = texts
    return key or role or "", name


def _with_places(
    cells: pa.Table, people: Sequence[tuple[str | None, ...]], reads: Sequence[tuple[I32, I32, U64]]
) -> pa.Table:
    """The cells with their places, and how many distinct objects were read there."""
    import pyarrow as pa

    piece = Piece(cells)
    who, _ = intern([*map(identity, people)])
    read = piece.text("outcome").are("success") & piece.text("operation").fit(LEAVES.__contains__)
    some = np.flatnonzero(read & ~piece.text("log").are("access_audit"))
    number, at = grouped([who[codes(piece, "who")[some]], *(codes(piece, name)[some] for name in ("bucket", "folder"))])
    place, objects = np.full(len(cells), -1, np.int32), np.zeros(len(cells), np.int64)
    place[some] = number
    objects[some] = distinct([(place[here], cell, hashes) for here, cell, hashes in reads], len(at))[number]
    return cells.append_column("place", pa.array(place)).append_column("objects", pa.array(objects))


class Rows:
    """Rows of one table, of all parts: those of the same texts as one."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._tables: list[pa.Table] = []
        self._of_part: list[I32] = []
        self._held = self._folded = 0

    def add(self, table: pa.Table) -> None:
        """The rows of the next part."""
        self._tables.append(table.select([*self._names, *FIGURES]))
        self._of_part.append(np.arange(self._held, self._held + len(table), dtype=np.int32))
        self._held += len(table)
        if self._held - self._folded > max(ROWS, self._folded):
            self.whole()

    def whole(self) -> tuple[pa.Table, list[I32]]:
        """All rows, and which of them each part's have become."""
        import pyarrow as pa

        piece = Piece(pa.concat_tables(self._tables).unify_dictionaries().combine_chunks())
        number, at = grouped([codes(piece, name) for name in self._names])
        sums = Sums.none(len(at)).add(number, Sums.of(piece.table))
        table = piece.table.select(list(self._names)).take(at)
        for name in FIGURES:
            table = table.append_column(name, pa.array(getattr(sums, name)))
        self._tables, self._of_part = [table], [number[rows] for rows in self._of_part]
        self._held = self._folded = len(table)
        return table, self._of_part


def by(table: pa.Table, who: I32) -> pa.Table:
    """The table with the identities' numbers in place of the part's."""
    import pyarrow as pa

    return table.set_column(table.column_names.index("who"), "who", pa.array(who[table["who"].to_numpy()]))


def codes(piece: Piece, name: str) -> I32:
    """Codes of a column of texts, or its numbers."""
    import pyarrow as pa

    column = piece.table[name]
    return piece.text(name).codes if pa.types.is_dictionary(column.type) else column.to_numpy()


def distinct(reads: Sequence[tuple[I32, I32, U64]], cells: int) -> I64:
    """Distinct objects of each cell. reads: of each part, which cell is which here, then cells and objects by hash.

    Cell and hash are sorted as one number, on several threads.
    """
    bits = np.uint64(max(cells - 1, 1).bit_length())
    ranges = 1 + sum(len(objects) for _, _, objects in reads) // HELD
    bounds = np.array([(2**64 - 1) * at // ranges for at in range(1, ranges)], np.uint64)
    cuts = [np.array([0, *np.searchsorted(objects, bounds), len(objects)]) for _, _, objects in reads]

    def count(at: int) -> I64:
        packed = [np.zeros(0, np.uint64)]
        for (here, cell, objects), of_part in zip(reads, cuts, strict=True):
            some = slice(of_part[at], of_part[at + 1])
            packed.append(here[cell[some]].astype(np.uint64) << (np.uint64(64) - bits) | objects[some] >> bits)
        whole = np.concatenate(packed)
        whole.sort()
        new = np.ones(len(whole), np.bool_)
        new[1:] = whole[1:] != whole[:-1]
        return np.bincount((whole[new] >> (np.uint64(64) - bits)).astype(np.int64), minlength=cells)

    return sum(in_threads(range(ranges), count), np.zeros(cells, np.int64))
