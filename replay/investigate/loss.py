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

from detector.core.access import I64, Mask
from detector.core.finding import prefixes_of
from replay.columns import Piece, timed, together
from replay.investigate.how import how

if TYPE_CHECKING:
    import pyarrow as pa

    from detector.core.owner import Owners

PART = 1 << 16
"""Records of whose objects so many are added up at once."""
MERGED = 1 << 17
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

    def take(self, table: pa.Table) -> None:
        """Add these rows."""
        self._tables.append(added(table, self._keys, self._sums))
        self._held += self._tables[-1].num_rows
        if self._held > MERGED:
            self._tables = [self._whole()]
            self._held = self._tables[0].num_rows // 2

    def rows(self) -> list[dict[str, Any]]:
        """All that was added, in the order of the columns; times as text."""
        if not self._tables:
            return []
        return timed(self._whole().sort_by([(name, "ascending") for name in self._keys])).to_pylist()

    def _whole(self) -> pa.Table:
        import pyarrow as pa

        return added(pa.concat_tables(self._tables), self._keys, self._sums)


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

    def take(self, table: pa.Table) -> None:
        """Add records that are strands, as `prepared` makes them. Of none at all there is one empty part."""
        if not table.num_rows and self._held[0]:
            return
        some = added(table, OF_STRAND, SUMS)
        for part, of_part in self._cut(some):
            self._held[part].append(of_part)
        self._rows += some.num_rows
        if self._rows > MERGED:
            self._merge()

    def finish(self) -> Iterator[Part]:
        """All objects, a part at a time."""
        for part, held in enumerate(self._held):
            put = self._shelf.taken(part) if self._shelf else []
            if put or held:
                yield _part(_merged([*put, *held]))

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
            yield int(part), table.take(np.flatnonzero(of == part))


class Shelf(NamedTuple):
    """Where strands are put away: by part."""

    put: Callable[[int, pa.Table], None]
    taken: Callable[[int], list[pa.Table]]


def _scattered(table: pa.Table) -> Any:
    """A number for each row that follows from its object."""
    bucket, key = (Piece(table).text(name).hashes() for name in ("bucket", "key"))
    return bucket * np.uint64(31) + key


def prepared(table: pa.Table) -> pa.Table:
    """Records with what is counted of them. What the application tells is in none of the counts."""
    import pyarrow as pa

    logged = ~_is(table, "log", "access_audit")
    success, refused = logged & _is(table, "outcome", "success"), logged & _is(table, "outcome", "denied")
    named = ~(_null(table, "key") | _null(table, "bucket"))
    read, copy, decrypt = (named & _is(table, "operation", name) for name in ("read", "copy", "decrypt"))
    some, status = read | copy | decrypt, _numbers(table, "status")
    counts = {
        "reads": read & success, "copies": copy & success, "decrypts": decrypt & success, "denied": some & refused,
        "bytes": np.where(read & success, _numbers(table, "bytes"), 0), "whole": read & success & (status == 200),
        "ranges": read & success & (status == 206), "nameless": (read | copy) & success & _null(table, "version_id"),
        "requests": logged, "refused": refused, "strand": some & (success | refused),
    }  # fmt: skip
    time = table["time"].cast(pa.timestamp("ms", "UTC"))  # Parquet has no whole seconds
    columns: dict[str, Any] = {name: table[name] for name in COPIED}
    columns |= {"first": time, "last": time, "how": pa.array(_how(Piece(table)), pa.string())}
    return pa.table(columns | {name: pa.array(np.asarray(count, np.int64)) for name, count in counts.items()})


def _how(piece: Piece) -> list[str]:
    codes, met = together([piece.text(name) for name in ("auth", "user_agent", "principal_type")])
    words = [how(*one) for one in met]
    return [words[code] for code in codes.tolist()]


def _is(table: pa.Table, name: str, text: str) -> Mask:
    import pyarrow as pa
    import pyarrow.compute as pc

    equal = pc.equal(table[name], pa.scalar(text)).fill_null(False)
    found: Mask = equal.to_numpy().astype(np.bool_)
    return found


def where(table: pa.Table, name: str) -> pa.Table:
    """The rows in which a count is not zero."""
    return table.take(np.flatnonzero(_numbers(table, name)))


def _null(table: pa.Table, name: str) -> Mask:
    found: Mask = table[name].is_null().to_numpy().astype(np.bool_)
    return found


def _numbers(table: pa.Table, name: str) -> I64:
    column: Any = table[name]
    numbers: I64 = column.fill_null(-1).to_numpy().astype(np.int64, copy=False)
    return numbers


def _objects_of(table: pa.Table, name: str) -> Any:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), object)


def added(table: pa.Table, keys: Sequence[str], sums: Sequence[str]) -> pa.Table:
    """Rows of the same keys as one, with their sums and their first and last time; in no order."""
    what: list[Any] = [*((name, "sum") for name in sums), ("first", "min"), ("last", "max")]
    grouped = table.group_by(list(keys), use_threads=False).aggregate(what)
    return grouped.select([*keys, *(f"{name}_{how_}" for name, how_ in what)]).rename_columns(
        [*keys, *(name for name, _ in what)]
    )


def _merged(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return added(pa.concat_tables(tables), OF_STRAND, SUMS)


def _part(strands: pa.Table) -> Part:
    import pyarrow as pa

    order: list[Any] = [("bucket", "ascending"), ("key", "ascending")]
    strands = strands.sort_by(order)
    summed = added(strands, ("bucket", "key"), SUMS).sort_by(order)  # Arrow's groups are in no order
    number = _numbered(strands)
    lists = {name: _lists(number, strands[column], summed.num_rows) for name, column in LISTS.items()}
    columns: dict[str, Any] = {name: summed[name] for name in summed.column_names} | lists
    columns |= {"left": pa.array(_left(summed))}
    return Part(pa.table(columns), _by_session(strands.take(np.flatnonzero(_left(strands)))))


def _left(table: pa.Table) -> Mask:
    found: Mask = np.any([_numbers(table, name) > 0 for name in WAYS_OUT], axis=0)
    return found


def _by_session(strands: pa.Table) -> pa.Table:
    keys = ["session", "because"]
    each = strands.group_by(["bucket", "key", *keys], use_threads=False).aggregate([])
    return each.group_by(keys, use_threads=False).aggregate([([], "count_all")]).rename_columns([*keys, "objects"])


def _numbered(strands: pa.Table) -> I64:
    """Which object each of these strands, in their order, belongs to."""
    bucket, key = (_objects_of(strands, name) for name in ("bucket", "key"))
    new = np.ones(len(bucket), np.int64)
    new[1:] = (bucket[1:] != bucket[:-1]) | (key[1:] != key[:-1])
    return np.cumsum(new) - 1


def _lists(number: I64, column: Any, count: int) -> Any:
    """The distinct texts of each object, in order."""
    import pyarrow as pa

    columns: dict[str, Any] = {"number": number, "text": column}
    pairs = pa.table(columns).filter(column.is_valid())
    pairs = pairs.group_by(["number", "text"], use_threads=False).aggregate([])
    pairs = pairs.sort_by([("number", "ascending"), ("text", "ascending")])
    offsets: Any = np.searchsorted(pairs["number"].to_numpy(), np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pairs["text"].combine_chunks())


def named(objects: pa.Table, owners: Owners | None) -> pa.Table:
    """Objects with their folder and their owner, as the key tells them."""
    import pyarrow as pa

    keys: Any = objects["key"].to_pylist()
    owner = owners.of_each(keys) if owners else [None] * len(keys)
    table = objects.append_column("prefix", pa.array(prefixes_of(keys), pa.string()))
    return table.append_column("owner", pa.array(owner, pa.string()))
