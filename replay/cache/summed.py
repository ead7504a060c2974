"""What the records of a part add up to, by who, where and from where: all that an access review asks of them.

Rules of this file
- An identity is a combination of `OF_WHO`; a row of a table is what one identity did, told apart by the texts that
  `TABLES` names. What the application says of itself (`access_audit`) is a second view of requests that AWS logged: of
  the tables it is in `cells`, where `log` tells it, and alone in `purposes`.
- Of keys there is the folder, cut to `DEPTH`: more folders would be as many as there are objects. Who asks for more has
  the records added up anew, with the folders he names.
- Beside the cells lies which objects were read in which, so that distinct objects are counted over all parts. They are
  in the order of their hashes: a reader may take a range of hashes from every part, and needs to hold no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import I32, I64, U64, Column, Mask, intern
from detector.core.builder import BatchBuilder
from detector.logs.parquet import dictionary, to_table
from replay.columns import Piece, grouped, over

if TYPE_CHECKING:
    import pyarrow as pa

DEPTH = 2
"""Folders of a key that are told apart."""
OF_WHO = ("role_key", "role", "session_name", "principal_type", "account")
TABLES: dict[str, tuple[str, ...]] = {
    "cells": ("bucket", "folder", "operation", "outcome", "log"),
    "sources": ("vpc_endpoint", "source_ip", "invoked_by"),
    "apis": ("api",),
    "keys": ("access_key",),
    "kms_keys": ("kms_key",),
    "access_points": ("access_point",),
    "signed": ("auth",),
    "sessions": ("session_key",),
    "began": ("began", "began_arn"),
    "purposes": ("purpose", "bucket"),
}
"""Table → the texts, beside the identity, that tell its rows apart."""
TEXTS = tuple(dict.fromkeys([*OF_WHO, *(name for names in TABLES.values() for name in names if name != "folder")]))
COLUMNS = (*TEXTS, "time", "bytes", "object", "issued_at")
"""Columns of records that are looked at, beside the one that folders are made of."""
LONG_LIVED_TYPES = ("IAMUser", "Root")
LONG_LIVED_KEYS = "AKIA"
"""How the ids of access keys begin that do not expire. Source: IAM user guide, "IAM identifiers"."""
LEAVES = ("read", "copy")
"""Classes of operation by which content leaves."""
LATEST = np.iinfo(np.int64).max
FIGURES = ("requests", "bytes", "first", "last")


@dataclass(slots=True)
class Sums:
    """By row of a table: requests, bytes, the first and the last event time."""

    requests: I64
    bytes: I64
    first: I64
    last: I64

    @classmethod
    def by(cls, codes: I32, count: int, time: I64, size: I64) -> Sums:
        """Of records with these codes."""
        return cls.none(count).add(codes, cls(np.ones(len(codes), np.int64), size, time, time))

    @classmethod
    def none(cls, count: int) -> Sums:
        """Of nothing."""
        return cls(*(np.full(count, value, np.int64) for value in (0, 0, LATEST, -1)))

    @classmethod
    def of(cls, table: pa.Table) -> Sums:
        """Those in a table."""
        return cls(*(table[name].to_numpy() for name in FIGURES))

    def add(self, rows: I32, other: Sums) -> Sums:
        """Add another's rows to these; this."""
        np.add.at(self.requests, rows, other.requests)
        np.add.at(self.bytes, rows, other.bytes)
        np.minimum.at(self.first, rows, other.first)
        np.maximum.at(self.last, rows, other.last)
        return self


@dataclass(frozen=True, slots=True)
class Summed:
    """Sums over some records. people: the identities, with `longest`, the greatest age in seconds of credentials when
    they were used (-1: not known). tables: by name; `who` is a row of `people`.

    cell, object: rows of `cells` and the hashes of objects that were read there, each pair once, by hash.
    """

    people: pa.Table
    tables: dict[str, pa.Table]
    cell: I32
    object: U64


def summed(piece: Piece, folder: Column) -> Summed:
    """Add up records. folder: of each the folder, or whatever else cells are told apart by."""
    texts = {name: piece.text(name) for name in TEXTS} | {"folder": folder}
    time, success = piece.seconds("time"), texts["outcome"].are("success")
    size = np.where(success, piece.number("bytes"), 0)
    who, first = grouped([texts[name].codes for name in OF_WHO])
    tables, cell = {}, np.zeros(0, np.int32)
    for name, rows in _rows(texts, success).items():
        chosen = np.flatnonzero(rows)
        columns = [texts[one].take(chosen) for one in TABLES[name]]
        codes, at = grouped([who[chosen], *(column.codes for column in columns)])
        sums = Sums.by(codes, len(at), time[chosen], size[chosen])
        tables[name] = _table(TABLES[name], who[chosen[at]], [column.take(at) for column in columns], sums)
        cell = codes if name == "cells" else cell
    read = success & texts["operation"].fit(LEAVES.__contains__) & ~texts["log"].are("access_audit")
    return Summed(_people(texts, first, _longest(who, len(first), time, piece)), tables, *_reads(piece, cell, read))


def _rows(texts: dict[str, Column], success: Mask) -> dict[str, Mask]:
    """Which records each table is of."""
    told = texts["log"].are("access_audit")
    done = success & ~told
    lasting = texts["principal_type"].fit(LONG_LIVED_TYPES.__contains__)
    lasting |= texts["access_key"].fit(lambda one: one.startswith(LONG_LIVED_KEYS))
    reads = done & texts["operation"].fit(LEAVES.__contains__)
    return {
        "cells": np.ones(len(told), np.bool_),
        "sources": ~told,
        "apis": done,
        "keys": lasting & ~told,
        "kms_keys": reads & (texts["kms_key"].codes >= 0),
        "access_points": ~told & (texts["access_point"].codes >= 0),
        "signed": ~told & texts["auth"].are("query"),
        "sessions": ~told,
        "began": done & (texts["began"].codes >= 0),
        "purposes": told,
    }


def _longest(who: I32, count: int, time: I64, piece: Piece) -> I64:
    longest, issued = np.full(count, -1, np.int64), piece.seconds("issued_at")
    known = issued > 0
    np.maximum.at(longest, who[known], time[known] - issued[known])
    return longest


def _reads(piece: Piece, cell: I32, read: Mask) -> tuple[I32, U64]:
    """Cells and objects, each pair once."""
    objects = piece.hashes("object")
    read &= objects != 0
    cell, objects = cell[read], objects[read]
    order = np.lexsort((cell, objects))
    cell, objects = cell[order], objects[order]
    new = np.ones(len(cell), np.bool_)
    new[1:] = (cell[1:] != cell[:-1]) | (objects[1:] != objects[:-1])
    return cell[new], objects[new]


def _people(texts: dict[str, Column], rows: Any, longest: I64) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {name: dictionary(texts[name].take(rows)) for name in OF_WHO}
    return pa.table(columns | {"longest": longest})


def _table(names: Sequence[str], who: I32, columns: Sequence[Column], sums: Sums) -> pa.Table:
    import pyarrow as pa

    texts: dict[str, Any] = dict(zip(names, map(dictionary, columns), strict=True))
    return pa.table({"who": who} | texts | {name: getattr(sums, name) for name in FIGURES})


def cut(folder: str, depth: int) -> str:
    """The first folders of a folder, or of a key."""
    end = -1
    for _ in range(depth):
        found = folder.find("/", end + 1)
        if found < 0:
            break
        end = found
    return folder[: end + 1]


def cut_all(folders: Column, depth: int) -> Column:
    """The first folders of each."""
    codes, values = intern([cut(folder, depth) for folder in folders.values])
    return Column(np.append(codes, np.int32(-1))[folders.codes], values)


def nothing() -> Summed:
    """What no records add up to."""
    return of_part(Piece(to_table(BatchBuilder().build(), of_objects=True)))


def of_part(piece: Piece) -> Summed:
    """What the records of a part add up to, as it is kept."""
    return summed(piece, cut_all(piece.text("prefix"), DEPTH))


def of_records(files: Sequence[Path], folder: str) -> Iterator[Summed]:
    """What the records in each of these files add up to. folder: the column that tells cells apart, uncut."""
    return over(files, (*COLUMNS, folder), lambda piece: summed(piece, piece.text(folder)))


def encoded(made: Summed) -> tuple[bytes, bytes]:
    """As they are kept: the tables, and which objects were read where."""
    import pyarrow as pa

    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    for table in (made.people, *(made.tables[name] for name in TABLES)):
        with pa.ipc.new_stream(out, table.schema, options=options) as stream:
            stream.write_table(table)
    return out.getvalue().to_pybytes(), made.object.tobytes() + made.cell.tobytes()


def decoded(tables: Path, reads: Path | None = None) -> Summed:
    """What was encoded. Which objects were read where stays in its file until it is looked at; a whole has none.

    Arrow maps a file without holding it open, as numpy would: there are more parts than a process may open files.
    """
    import pyarrow as pa

    with pa.memory_map(str(tables)) as source:
        people, *others = [pa.ipc.open_stream(source).read_all() for _ in range(1 + len(TABLES))]
    content: Any = b""
    if reads is not None:
        with pa.memory_map(str(reads)) as source:
            content = source.read_buffer()
    whole = np.frombuffer(content, np.uint8)
    count = len(whole) // (8 + 4)
    objects, cells = whole[: 8 * count].view(np.uint64), whole[8 * count :].view(np.int32)
    return Summed(people, dict(zip(TABLES, others, strict=True)), cells, objects)
