"""Counts by who, where and from where, over kept access records. No I/O of its own.

Rules of this file
- A cell is what one identity did in one place: `Who` (role or user, and session name) and a place (bucket, and the
  first folders of the key). Everything else is counted beside it, by identity.
- What the application says of itself (`access_audit`) is a second view of requests that AWS logged: it tells purposes
  and counts nowhere else.
- Reads, objects and bytes are those that succeeded; `requests` are all.
- Objects are told apart by as much of their hash as 64 bits leave beside the number of the cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detector.core.access import I8, I32, I64, U64, Column, Index, Log, Mask, Operation, Outcome, intern, text_hashes
from detector.core.finding import shown
from detector.core.net import net_of
from detector.response.identity import INSTANCE, TASK
from replay.columns import Piece, over, pair, together
from replay.review.scope import LEAVES, Scopes
from replay.review.sums import Side, Sums, Table, side

OF_WHO = ("role_key", "role", "session_name", "principal_type", "account")
OF_SOURCE = ("vpc_endpoint", "source_ip", "invoked_by")
TEXTS = (
    *OF_WHO, *OF_SOURCE, "session_key", "access_key", "bucket", "prefix", "operation", "outcome", "log", "api", "auth",
    "purpose", "kms_key", "access_point", "began", "began_arn",
)  # fmt: skip
COLUMNS = (*TEXTS, "time", "bytes", "object", "issued_at")
HELD = 1 << 24
"""Reads that are held before copies among them are let go."""
MIX = np.uint64(0x9E37_79B9_7F4A_7C15)
LONG_LIVED_TYPES = ("IAMUser", "Root")
LONG_LIVED_KEYS = "AKIA"
"""How the ids of access keys begin that do not expire. Source: IAM user guide, "IAM identifiers"."""
Rows = Any
"""Rows of a piece: their numbers, or a slice that is all."""


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
class Counted:
    """What one piece came to. Codes of identities and places are the piece's own.

    who, places: by code. cell_who, cell_place, outside: of every cell. by_operation: successes of each class of
    operation. cell, object: of every read of an object. longest: by identity, the greatest age of credentials in use.
    """

    who: list[Who]
    places: list[tuple[str, str]]
    cell_who: I64
    cell_place: I64
    outside: Mask
    sums: Sums
    denied: I64
    by_operation: I64
    cell: I32
    object: U64
    longest: I64
    sides: dict[str, Side]


@dataclass(slots=True)
class Usage:
    """All pieces together: cells as (identity, place, whether out of scope), and tables by identity.

    objects: distinct objects read, by cell. longest: seconds, -1 where no issue time is known.
    """

    who: list[Who] = field(default_factory=list)
    places: list[tuple[str, str]] = field(default_factory=list)
    cells: Table[tuple[int, int, bool]] = field(default_factory=Table)
    denied: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    by_operation: I64 = field(default_factory=lambda: np.zeros((0, len(Operation)), np.int64))
    objects: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    longest: list[int] = field(default_factory=list)
    sides: dict[str, Table[tuple[Any, ...]]] = field(default_factory=dict)

    def side(self, name: str) -> Iterator[tuple[tuple[Any, ...], int, int, int, int]]:
        """A table by identity: keys (identity first), requests, bytes, first, last."""
        yield from self.sides[name].items() if name in self.sides else ()


def usage(files: Sequence[Path], depth: int, scopes: Scopes) -> Usage:
    """Count the records of these files. depth: how many folders of a key are told apart."""
    gathering = _Gathering()
    count = _counting(depth, scopes)
    for one in over(files, (*COLUMNS, *scopes.columns), count):
        gathering.take(one)
    return gathering.usage()


def cut(folder: str, depth: int) -> str:
    """The first folders of a folder."""
    end = -1
    for _ in range(depth):
        found = folder.find("/", end + 1)
        if found < 0:
            break
        end = found
    return folder[: end + 1]


def _counting(depth: int, scopes: Scopes) -> Callable[[Piece], Counted]:
    return lambda piece: _count(piece, depth, scopes)


def _count(piece: Piece, depth: int, scopes: Scopes) -> Counted:
    texts = {name: piece.text(name) for name in TEXTS}
    time, size, operation = piece.seconds("time"), piece.number("bytes"), _codes(texts["operation"], Operation)
    told = _codes(texts["log"], Log) == Log.access_audit
    outcome = _codes(texts["outcome"], Outcome)
    ok = outcome == Outcome.success
    who, people = together([texts[name] for name in OF_WHO])
    place, places = together([texts["bucket"], _cut(texts["prefix"], depth)])
    outside, crossed = scopes.judge(piece, texts, (who, people), operation)
    rows: Rows = np.flatnonzero(~told) if told.any() else slice(None)
    cell, pairs = pair(2 * who[rows] + outside[rows], place[rows], len(places))
    left = ok[rows] & LEAVES[operation[rows]]
    count, kinds = len(pairs), len(Operation)
    sums = Sums.by(cell, count, time[rows], np.where(left, size[rows], 0))
    done = np.bincount(cell[ok[rows]].astype(np.int64) * kinds + operation[rows][ok[rows]], minlength=count * kinds)
    objects = piece.hashes("object")[rows]
    read = left & (objects != 0)
    sides = _Sides(who, time, np.where(ok, size, 0), texts)
    return Counted(
        [Who.of(one) for one in people],
        [(bucket or "", prefix or "") for bucket, prefix in places],
        pairs // len(places) // 2 if count else pairs,
        pairs % max(len(places), 1),
        (pairs // max(len(places), 1) % 2).astype(np.bool_),
        sums,
        np.bincount(cell[outcome[rows] == Outcome.denied], minlength=count),
        done.reshape(count, kinds),
        cell[read],
        objects[read],
        _longest(who, len(people), time, piece.seconds("issued_at")),
        sides.all(rows, ok, operation, people) | crossed,
    )


def _codes(column: Column, kind: type[Operation | Outcome | Log]) -> I8:
    """Every row's member of an enumeration; what is none is the first."""
    found: I8 = np.array([*(int(kind.__members__.get(text, 0)) for text in column.values), 0], np.int8)[column.codes]
    return found


def _cut(prefix: Column, depth: int) -> Column:
    codes, values = intern([cut(folder, depth) for folder in prefix.values])
    return Column(np.append(codes, np.int32(-1))[prefix.codes], values)


def _longest(who: I32, count: int, time: I64, issued: I64) -> I64:
    """By identity, the greatest age of credentials when they were used; -1 if it is not known."""
    longest = np.full(count, -1, np.int64)
    known = issued > 0
    np.maximum.at(longest, who[known], time[known] - issued[known])
    return longest


class _Sides:
    """Tables beside the cells, by identity and something else."""

    def __init__(self, who: I32, time: I64, size: I64, texts: dict[str, Column]) -> None:
        self._who, self._time, self._size, self._texts = who, time, size, texts

    def all(self, rows: Any, ok: Mask, operation: I8, people: Sequence[Any]) -> dict[str, Side]:
        """Those over what AWS logged (rows), and purposes, which only the application tells."""
        texts = self._texts
        numbers = np.arange(len(ok))[rows]
        done = numbers[ok[rows]]
        reads = done[LEAVES[operation[done]]]
        lasting = np.array([one[3] in LONG_LIVED_TYPES for one in people], np.bool_)[self._who]
        key = texts["access_key"]
        lasting |= key.fit(lambda one: one.startswith(LONG_LIVED_KEYS))
        lasting = numbers[lasting[rows]]
        begun = done[texts["began"].codes[done] >= 0]
        signed = numbers[texts["auth"].are("query")[rows]]
        return {
            "sources": self.by(rows, self._sources(rows)),
            "apis": self.by(done, texts["api"].take(done)),
            "keys": self.by(lasting, key.take(lasting)),
            "kms_keys": self._some(reads, texts["kms_key"]),
            "access_points": self._some(numbers, texts["access_point"]),
            "signed": self.by(signed, texts["auth"].take(signed)),
            "sessions": self._sessions(rows),
            "began": self._began(begun),
            "purposes": self._purposes(),
        }

    def _some(self, rows: Index, column: Column) -> Side:
        """By identity and text, of those of these rows that have one."""
        rows = rows[column.codes[rows] >= 0] if column.values else rows[:0]
        return self.by(rows, column.take(rows))

    def by(self, rows: Rows, column: Column) -> Side:
        """By identity and the text of these rows."""
        return side(self._who[rows], column.codes, column.values, self._time[rows], self._size[rows])

    def _sources(self, rows: Any) -> Column:
        """VPC endpoint, else service, else network."""
        codes, met = together([self._texts[name].take(rows) for name in OF_SOURCE])
        nets, values = intern([net_of(*one) for one in met])
        return Column(nets[codes], values)

    def _sessions(self, rows: Any) -> Side:
        session = self._texts["session_key"].take(rows)
        return side(self._who[rows], session.codes, text_hashes(session.values).tolist(), self._time[rows])

    def _began(self, rows: Any) -> Side:
        codes, met = together([self._texts[name].take(rows) for name in ("began", "began_arn")])
        keys = [(-1, (began or "").partition(":")[0], arn or "") for began, arn in met]
        distinct, values = intern(keys)
        return values, Sums.by(distinct[codes], len(values), self._time[rows])

    def _purposes(self) -> Side:
        rows = np.flatnonzero(_codes(self._texts["log"], Log) == Log.access_audit)
        codes, met = together([self._texts[name].take(rows) for name in ("purpose", "bucket")])
        keys, sums = side(self._who[rows], codes, met, self._time[rows], self._size[rows])
        return [(by, *what) for by, what in keys], sums


class _Gathering:
    """Pieces on their way into one usage."""

    def __init__(self) -> None:
        self._usage = Usage()
        self._who = Table[tuple[str, str | None]]()
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        self._places = Table[tuple[str, str]]()
        self._rows: list[tuple[list[int], I64, I64]] = []
        self._reads: list[tuple[I32, U64]] = []
        self._held = 0

    def take(self, one: Counted) -> None:
        """Add a piece."""
        usage = self._usage
        who, place = self._identities(one), self._places.rows(one.places)
        cells = usage.cells.add(
            [
                (who[by], place[at], out)
                for by, at, out in zip(
                    one.cell_who.tolist(), one.cell_place.tolist(), one.outside.tolist(), strict=True
                )
            ],
            one.sums,
        )
        self._rows.append((cells, one.denied, one.by_operation))
        self._hold(np.array(cells, np.int32)[one.cell], one.object)
        for name, (keys, sums) in one.sides.items():
            table = usage.sides.setdefault(name, Table())
            table.add([(who[key[0]] if key[0] >= 0 else -1, *key[1:]) for key in keys], sums)

    def _identities(self, one: Counted) -> list[int]:
        usage = self._usage
        rows = self._who.rows((who.role_key, who.session_name) for who in one.who)
        for at, who, age in zip(rows, one.who, one.longest.tolist(), strict=True):
            if at == len(usage.who):
                usage.who.append(who)
                usage.longest.append(-1)
            self._names[who.role_key].add(who.role)
            usage.longest[at] = max(usage.longest[at], age)
        return rows

    def _hold(self, cell: I32, objects: U64) -> None:
        self._reads.append((cell, objects))
        self._held += len(cell)
        if self._held > HELD:
            self._reads = [self._distinct()]
            self._held = len(self._reads[0][0])

    def _distinct(self) -> tuple[I32, U64]:
        """Cells and objects read, each pair once."""
        cell, objects = (np.concatenate(columns) for columns in zip(*self._reads, strict=True))
        order = np.argsort(objects + cell.astype(np.uint64) * MIX)
        cell, objects = cell[order], objects[order]
        new = np.ones(len(cell), np.bool_)
        new[1:] = (cell[1:] != cell[:-1]) | (objects[1:] != objects[:-1])
        return cell[new], objects[new]

    def usage(self) -> Usage:
        """All that was added."""
        usage = self._usage
        count = len(usage.cells.keys)
        usage.places = self._places.keys
        names = {key: shown(names) for key, names in self._names.items()}
        usage.who = [who._replace(role=names[who.role_key]) for who in usage.who]
        usage.denied = np.zeros(count, np.int64)
        usage.by_operation = np.zeros((count, len(Operation)), np.int64)
        for cells, denied, by_operation in self._rows:
            np.add.at(usage.denied, cells, denied)
            np.add.at(usage.by_operation, cells, by_operation)
        usage.objects = _counts(self._reads, count)
        return usage


def _counts(reads: list[tuple[I32, U64]], cells: int) -> I64:
    """Distinct objects of each cell: its number and the beginning of the object's hash, sorted as one number."""
    bits = np.uint64(max(cells - 1, 1).bit_length())
    packed = np.concatenate([np.zeros(0, np.uint64), *(_packed(cell, objects, bits) for cell, objects in reads)])
    packed.sort()
    new = np.ones(len(packed), np.bool_)
    new[1:] = packed[1:] != packed[:-1]
    of_cell = (packed[new] >> (np.uint64(64) - bits)).astype(np.int64)
    return np.bincount(of_cell, minlength=cells)


def _packed(cell: I32, objects: U64, bits: np.uint64) -> U64:
    packed: U64 = cell.astype(np.uint64) << (np.uint64(64) - bits) | objects >> bits
    return packed
