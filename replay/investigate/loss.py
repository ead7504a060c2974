"""Scope of loss: objects, people, sources and acts, added up from records of any number. Pure.

Rules of this file
- What left is a successful read or copy of an object; a successful KMS decrypt for an object shows that it was read
  where the read itself is in no log. What was refused is counted apart.
- What the application says of itself (its audit log) is another view of the same requests, and adds to nothing.
- A strand is what one session did to one version of one object from one place, in one way. An object's row is made of
  its strands; they are added up a part of all objects at a time, so memory holds a part, never all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.core.access import I32, I64, Index, Mask
from detector.core.finding import prefixes_of
from detector.logs.parquet import without_dictionaries
from replay.columns import Piece, bounds, grouped, in_threads, taken, timed, together
from replay.investigate.how import how

if TYPE_CHECKING:
    import pyarrow as pa

    from detector.core.owner import Owners

PART = 1 << 16
"""Records of whose objects so many are added up at once."""
MERGED = 1 << 18
"""Rows that wait until they are added up."""
OF_STRAND = ("bucket", "key", "version_id", "session", "source_ip", "vpc_endpoint", "how", "because")
LISTS = {
    "versions": "version_id", "sessions": "session", "source_ips": "source_ip", "vpc_endpoints": "vpc_endpoint",
    "how": "how", "because": "because",
}  # fmt: skip
"""List in an object's row → column of its strands."""
WAYS_OUT = ("reads", "copies", "decrypts")
SUMS = (*WAYS_OUT, "denied", "bytes", "whole", "ranges", "nameless")
"""Counts of a strand. whole, ranges: reads of which an access log says that all (200) or a range (206) was sent.
nameless: reads and copies whose version is not told."""
OF_REQUESTS = ("requests", "bytes", "refused")
OF_OBJECTS = ("objects", *WAYS_OUT, "bytes")
OF_PERSON = ("session", "role", "account", "principal_type", "because")
OF_ACT = ("because", "operation", "api", "outcome")
OF_DENIED = ("bucket", "api", "error_code")
OF_SOURCE = ("source_ip", "vpc_endpoint", "because")
COPIED = sorted({*OF_STRAND, *OF_PERSON, *OF_ACT, *OF_DENIED, *OF_SOURCE, "access_key", "log"} - {"how"})
"""Columns of records that are counted as they are."""


class Tally:
    """Rows added up by some columns: their sums, the first and the last time."""

    def __init__(self, keys: Sequence[str], sums: Sequence[str] = OF_REQUESTS) -> None:
        self._keys, self._sums = list(keys), sums
        self._tables: list[pa.Table] = []
        self._held = 0

    def __len__(self) -> int:
        return self._whole().num_rows if self._tables else 0

    def take(self, piece: Piece, rows: Index | None = None) -> None:
        """Add these rows, or all."""
        self._tables.append(added(piece, self._keys, self._sums, rows))
        self._held += self._tables[-1].num_rows
        if self._held > MERGED:
            self._held = self._whole().num_rows // 2

    def rows(self) -> list[dict[str, Any]]:
        """All that was added, in the order of the columns; times as text."""
        if not self._tables:
            return []
        return timed(self._whole().sort_by([(name, "ascending") for name in self._keys])).to_pylist()

    def most(self, by: Sequence[str], count: int) -> list[dict[str, Any]]:
        """So many rows of those with the largest sums, by the first of these, then the next; and all like the last."""
        if not len(self):
            return []
        whole = self._whole()
        figures = [_numbers(whole, name) for name in by]
        order = np.lexsort([-one for one in reversed(figures)])
        last = order[min(count, len(order)) - 1]
        like = np.flatnonzero(np.all([one[order] == one[last] for one in figures], axis=0))
        return timed(whole.take(order[: like[-1] + 1])).to_pylist()

    def _whole(self) -> pa.Table:
        import pyarrow as pa

        if len(self._tables) > 1:
            piece = Piece(pa.concat_tables(self._tables).unify_dictionaries())
            self._tables = [added(piece, self._keys, self._sums)]
        return without_dictionaries(self._tables[0])


class Part(NamedTuple):
    """Objects by bucket and key; `left` tells those that were read at all. by_session: how many objects of each."""

    objects: pa.Table
    by_session: pa.Table


class Strands:
    """Strands, in parts by their objects. shelf: puts a part's strands away, and gives back what was put away."""

    def __init__(self, parts: int = 1, shelf: Shelf | None = None) -> None:
        self.parts = parts
        self._shelf = shelf
        self._held: list[list[pa.Table]] = [[] for _ in range(parts)]
        self._rows = 0

    def take(self, piece: Piece, rows: Index) -> None:
        """Add these records, as `prepared` makes them, which are strands. Of none at all there is one empty part."""
        if not len(rows) and self._held[0]:
            return
        some = added(piece, OF_STRAND, SUMS, rows)
        for part, of_part in self._cut(some):
            self._held[part].append(of_part)
        self._rows += some.num_rows
        if self._rows > MERGED:
            self._merge()

    def finish(self) -> Iterator[Part]:
        """All objects, a part at a time, made on several threads."""
        return (part for part in in_threads(range(self.parts), self._part) if part is not None)

    def _part(self, number: int) -> Part | None:
        put, held = self._shelf.taken(number) if self._shelf else [], self._held[number]
        self._held[number] = []
        return _part(_merged([*put, *held])) if put or held else None

    def _merge(self) -> None:
        """Add up what is held; where there are several parts, put it away."""
        left = 0
        for part, tables in enumerate(self._held):
            if not tables:
                continue
            whole = _merged(tables)
            if self.parts > 1 and self._shelf:
                self._shelf.put(part, whole)
                self._held[part] = []
            else:
                self._held[part] = [whole]
                left += whole.num_rows
        self._rows = left // 2

    def _cut(self, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        if self.parts == 1 or not table.num_rows:
            yield 0, table
            return
        of = _scattered(table) % np.uint64(self.parts)
        for part in np.unique(of).tolist():
            yield int(part), taken(table, np.flatnonzero(of == part))


class Shelf(NamedTuple):
    """Where strands are put away: by part."""

    put: Callable[[int, pa.Table], None]
    taken: Callable[[int], list[pa.Table]]


def _scattered(table: pa.Table) -> Any:
    """A number for each row that follows from its object."""
    piece = Piece(table)
    bucket, key = (piece.text(name).hashes() for name in ("bucket", "key"))
    return bucket * np.uint64(31) + key


def prepared(table: pa.Table) -> Piece:
    """Records with what is counted of them. What the application tells is in none of the counts."""
    import pyarrow as pa

    piece = Piece(table)
    is_ = {name: piece.text(name) for name in ("log", "outcome", "operation")}
    logged = ~is_["log"].are("access_audit")
    success, refused = logged & is_["outcome"].are("success"), logged & is_["outcome"].are("denied")
    named = ~(_null(table, "key") | _null(table, "bucket"))
    read, copy, decrypt = (named & is_["operation"].are(name) for name in ("read", "copy", "decrypt"))
    some, status = read | copy | decrypt, _numbers(table, "status")
    counts = {
        "reads": read & success, "copies": copy & success, "decrypts": decrypt & success, "denied": some & refused,
        "bytes": np.where(read & success, _numbers(table, "bytes"), 0), "whole": read & success & (status == 200),
        "ranges": read & success & (status == 206), "nameless": (read | copy) & success & _null(table, "version_id"),
        "requests": logged, "refused": refused, "strand": some & (success | refused),
    }  # fmt: skip
    time = table["time"].cast(pa.timestamp("ms", "UTC"))  # Parquet has no whole seconds
    columns: dict[str, Any] = {name: table[name] for name in COPIED}
    columns |= {"first": time, "last": time, "how": _how(piece)}
    return Piece(pa.table(columns | {name: pa.array(np.asarray(count, np.int64)) for name, count in counts.items()}))


def _how(piece: Piece) -> Any:
    import pyarrow as pa

    codes, met = together([piece.text(name) for name in ("auth", "user_agent", "principal_type")])
    return pa.array([how(*one) for one in met], pa.string()).take(codes)


def where(piece: Piece, name: str) -> Index:
    """The rows in which a count is not zero."""
    return np.flatnonzero(_numbers(piece.table, name))


def _null(table: pa.Table, name: str) -> Mask:
    found: Mask = table[name].is_null().to_numpy().astype(np.bool_)
    return found


def _numbers(table: pa.Table, name: str) -> I64:
    column: Any = table[name]
    numbers: I64 = column.fill_null(-1).to_numpy().astype(np.int64, copy=False)
    return numbers


def added(piece: Piece, keys: Sequence[str], sums: Sequence[str], rows: Index | None = None) -> pa.Table:
    """Rows of the same keys as one, with their sums and their first and last time; in no order. rows: of these only."""
    rows = np.arange(len(piece)) if rows is None else rows
    number, at = grouped([piece.codes(name)[rows] for name in keys])
    return _added(piece.table, keys, sums, rows, (number, at))


def _added(
    table: pa.Table, keys: Sequence[str], sums: Sequence[str], rows: Index, numbered: tuple[I32, Index]
) -> pa.Table:
    """These rows by their number. numbered: of each its number; of each number one of them, which tells its keys."""
    import pyarrow as pa

    number, at = numbered
    columns: dict[str, Any] = dict(zip(keys, taken(table.select([*keys]), rows[at]).columns, strict=True))
    for name in sums:
        total = np.zeros(len(at), np.int64)
        np.add.at(total, number, _numbers(table, name)[rows])
        columns[name] = pa.array(total)
    times = (table[name].cast(pa.int64()).to_numpy()[rows] for name in ("first", "last"))
    for name, moments in zip(("first", "last"), bounds(number, len(at), *times), strict=True):
        columns[name] = pa.array(moments).cast(table.schema.field(name).type)
    return pa.table(columns)


def _merged(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return added(Piece(pa.concat_tables(tables).unify_dictionaries()), OF_STRAND, SUMS)


def _part(strands: pa.Table) -> Part:
    """Objects in the order of bucket and key."""
    import pyarrow as pa

    piece = Piece(strands)
    (bucket, _), (key, keys) = piece.ranked("bucket"), piece.ranked("key")
    _, at, number = np.unique(bucket.astype(np.int64) * len(keys) + key, return_index=True, return_inverse=True)
    number = number.astype(np.int32)
    objects = without_dictionaries(_added(strands, ("bucket", "key"), SUMS, np.arange(len(strands)), (number, at)))
    for name, column in LISTS.items():
        objects = objects.append_column(name, _lists(number, *piece.ranked(column), len(at)))
    objects = objects.append_column("left", pa.array(_left(objects)))
    return Part(objects, _by_session(piece, number))


def _left(table: pa.Table) -> Mask:
    found: Mask = np.any([_numbers(table, name) > 0 for name in WAYS_OUT], axis=0)
    return found


def _by_session(piece: Piece, number: I32) -> pa.Table:
    """How many objects of each session and reason were read at all. number: of each strand its object's."""
    import pyarrow as pa

    left = np.flatnonzero(_left(piece.table))
    keys = [piece.codes(name)[left] for name in ("session", "because")]
    _, each = grouped([number[left], *keys])
    codes, at = grouped([column[each] for column in keys])
    told = taken(piece.table.select(["session", "because"]), left[each[at]])
    return told.append_column("objects", pa.array(np.bincount(codes, minlength=len(at))))


def _lists(number: I32, rank: I32, texts: Any, count: int) -> Any:
    """The distinct texts of each object, in order. rank: of each strand its text's; -1: it has none."""
    import pyarrow as pa

    some = np.flatnonzero(rank >= 0)
    pairs = np.sort(number[some].astype(np.int64) * len(texts) + rank[some])
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]]
    offsets: Any = np.searchsorted(pairs, np.arange(count + 1) * len(texts)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, texts.take(pairs % max(len(texts), 1)))


def named(objects: pa.Table, owners: Owners | None) -> pa.Table:
    """Objects with their folder and their owner, as the key tells them."""
    import pyarrow as pa

    keys: Any = objects["key"].to_pylist()
    owner = owners.of_each(keys) if owners else [None] * len(keys)
    table = objects.append_column("prefix", pa.array(prefixes_of(keys), pa.string()))
    return table.append_column("owner", pa.array(owner, pa.string()))
