"""The optional kernel: what it is asked of CloudTrail documents, and what it answers. Pure.

`_members.c` walks a document once and tells where the wanted members of every record lie and which are alike, so that
Python looks at each distinct text once. It is built where there is a compiler (`hatch_build.py`); `BUILT` says whether
it is there, and so is its other half, for access logs (`usual_lines.py`). It reads only documents that are in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias, get_args, get_origin

import msgspec
import numpy as np
import numpy.typing as npt

from detector.core.access import I32, U64, Index

try:
    from detector.logs import _lines, _members
except ImportError:
    BUILT = False
else:
    BUILT = True
    texts, usual_lines = _members.texts, _lines.read

_Slices: TypeAlias = npt.NDArray[np.int32]

FILE, ARRAY, LINES = range(3)
"""Forms of a document that is in order: `{"Records": […]}`, `[…]`, one record a line."""

DEEPEST = 512
"""Levels of a record beyond which the kernel leaves a document to the decoder: it recurses, as `_members.c` says."""

_OBJECT, _TEXT, _RAW, _NUMBER, _ARRAY = range(5)
_ENCODE, _HASH, _TIME = 1, 2, 4
ODD, FULL = -1, -2
SEED = hash(b"members") & (1 << 64) - 1
"""Of the hash tables; nobody outside this process knows it, so nobody can make texts that collide."""

_KEY = b"".join(hash(half).to_bytes(8, "little", signed=True) for half in (b"one half", b"other half"))
"""Of the hashes by which identities are told apart; as secret as the seed."""

_SAMPLE, _MARK = 1 << 16, b'"eventName"'
_SHORTEST = 64
"""Bytes a record has at least: what is shorter is read without the kernel, so that its tables stay small."""

DOCUMENTS = 64
"""Documents at most whose records are looked at together: what asks for one place looks for its document among them."""
ELEMENTS = 2
"""Elements of a list whose members are looked at."""

HASHED, TIMED = "eventID", "eventTime"
ALL_DIFFERENT = frozenset(
    {"eventID", "requestID", "key", "versionId", "id2", "signed_at", "resources.0.ARN", "bytesTransferredOut"}
)
"""Members in which hardly two records are alike: not worth telling which are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which members are looked for, as the kernel wants it, and where each lies in a decoded record.

    members: Member of `_members.c`, one a row. keys: their names, one after the other. asked: a byte a column.
    columns: member → column. paths: member → attributes from the record on. types: member → its type in a record.
    """

    members: npt.NDArray[np.int32]
    keys: bytes
    asked: bytes
    columns: dict[str, int]
    paths: dict[str, tuple[str | int, ...]]
    types: dict[str, Any]


@dataclass(slots=True)
class _Member:
    """A member on its way into a plan. name: how it is asked for; path: where it lies in a decoded record."""

    name: str
    spelled: bytes
    kind: int
    path: tuple[str | int, ...]
    type: Any
    children: list[_Member]


@lru_cache(maxsize=64)
def plan(record: type[msgspec.Struct]) -> Plan:
    """How to look for the members of a struct that `record.shape` made. The first column is the record itself."""
    members = [_Member("", b"", _OBJECT, (), record, _below(record, "", ()))]
    rows, keys, asked = [[_OBJECT, 0, 0, 0, 1, 0]], b"", [0]
    columns: dict[str, int] = {}
    for at, member in enumerate(members):  # it grows: parents before children, children side by side
        rows[at][4:] = [len(members), len(member.children)]
        members += member.children
        for child in member.children:
            column = -1
            if child.kind != _OBJECT:
                column = columns[child.name] = len(asked)
                encode = _ENCODE * (child.name not in ALL_DIFFERENT and child.kind != _ARRAY)
                asked.append(encode | _HASH * (child.name == HASHED) | _TIME * (child.name == TIMED))
            rows.append([child.kind, len(keys), len(child.spelled), column, 0, 0])
            keys += child.spelled
    asked_for = [member for member in members if member.kind != _OBJECT]
    paths = {member.name: member.path for member in asked_for}
    types = {member.name: member.type for member in asked_for}
    return Plan(np.array(rows, np.int32), keys, bytes(asked), columns, paths, types)


def _below(struct: type[msgspec.Struct], prefix: str, path: tuple[str | int, ...]) -> list[_Member]:
    """The members of a struct. Those of a nested object are asked for by their own name, which no other has."""
    found = []
    for field in msgspec.structs.fields(struct):
        here, name = (*path, field.name), f"{prefix}{field.name}"
        types = [one for one in get_args(field.type) or (field.type,) if one is not type(None)]
        kind, children = _kind(types), []
        if kind == _OBJECT:
            children = _below(types[0], prefix, here)
        elif kind == _ARRAY:
            (element,) = get_args(types[0])
            for at in range(ELEMENTS):
                inside = _below(element, f"{name}.{at}.", (*here, at))
                children.append(_Member(f"{name}.{at}", b"", _OBJECT, (*here, at), element, inside))
        found.append(_Member(name, field.encode_name.encode(), kind, here, field.type, children))
    return found


def _kind(types: list[Any]) -> int:
    if types == [str]:
        return _TEXT
    if types == [float]:
        return _NUMBER
    if len(types) == 1 and get_origin(types[0]) is list:
        return _ARRAY
    return _OBJECT if len(types) == 1 and issubclass(types[0], msgspec.Struct) else _RAW


class Found:
    """What the kernel found in some documents, whose places are told as if they were one, one after the other.

    slices: by column and row where the value lies. hashes: of every record's id. times: in epoch seconds, -1 if one is
    spelled in an unusual way. room: rows there is room for.
    """

    def __init__(self, how: Plan, room: int) -> None:
        self._how, self._room = how, room
        self.documents: tuple[bytes, ...] = ()
        self.rows = self.size = 0
        self.slices = np.empty((len(how.asked), room, 2), np.int32)
        self._codes, self._firsts = np.empty((2, len(how.asked), room), np.int32)
        self._counts = np.zeros(len(how.asked), np.int32)
        self.hashes, self.times = np.empty(room, np.uint64), np.empty(room, np.int64)
        self._before = self.rows, self._counts

    def has_room(self, data: bytes, most: int) -> bool:
        """Whether there is room for one more document, and all are no more than so many bytes with it."""
        more = len(self.documents) < DOCUMENTS and self.size + len(data) <= most
        return more and self.rows + room_for(data) <= self._room

    def add(self, data: bytes, form: int, nesting: int, longest: int) -> int:
        """Look for the members in one more document: ODD and FULL if it is not in order, or there is no room for it.

        nesting: levels a record may have; longest: bytes.
        """
        how, before = self._how, (self.rows, self._counts.copy())
        filled = (self.slices, self._codes, self._firsts, self._counts, self.hashes, self.times)
        rows = _members.read(
            data, form, how.members, how.keys, how.asked, nesting, longest, SEED, self.size, self.rows, self._room,
            *filled,
        )  # fmt: skip
        if rows >= 0:
            self.documents, self.size = (*self.documents, data), self.size + len(data)
            self.rows, self._before = rows, before
        return rows

    def drop(self) -> None:
        """Let go of the last document, once."""
        self.rows, self._counts = self._before
        self.size -= len(self.documents[-1])
        self.documents = self.documents[:-1]

    def told(self, member: str, rows: Index | slice) -> bool:
        """Whether each of these records has a text here that is not empty."""
        starts, stops = self.slices[self._how.columns[member], rows].T
        return bool(((starts >= 0) & (starts != stops)).all())

    @cached_property
    def coded(self) -> tuple[I32, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """By column and row the code; by column and code the row where it came first; how many codes a column has."""
        coded = self._codes, self._firsts, self._counts
        if len(self.documents) > 1:
            _members.join(self.documents, self.slices, self.rows, self._room, SEED, *coded)
        return coded

    def texts(self, slices: _Slices) -> list[str | None]:
        """The texts that lie there; None where there is none, or one with escapes in it."""
        return _members.texts(self.documents, slices, False)

    def pieces(self, slices: _Slices) -> list[bytes]:
        """What lies there, as it is spelled."""
        return _members.texts(self.documents, slices, True)

    def numbers(self, slices: _Slices) -> npt.NDArray[np.float64]:
        """The numbers that lie there; NaN where there is none."""
        numbers = np.empty(len(slices), np.float64)
        if not _members.numbers(self.documents, np.ascontiguousarray(slices), numbers):
            numbers[:] = [float(one or "nan") for one in self.texts(slices)]
        return numbers

    def rest(self, slices: _Slices, codes: I32, prefixes: Sequence[bytes]) -> tuple[_Slices, U64]:
        """Where that lies of each text which follows the prefix of its code, and its hash.

        No place and 0 where a text does not begin so, or ends there, or has escapes in it; or the prefix is empty.
        """
        rest, hashes = np.empty((len(slices), 2), np.int32), np.empty(len(slices), np.uint64)
        ends = np.cumsum([len(one) for one in prefixes], dtype=np.int32)
        _members.rest(
            self.documents, np.ascontiguousarray(slices), np.ascontiguousarray(codes), b"".join(prefixes), ends, rest,
            hashes,
        )  # fmt: skip
        return rest, hashes


def found(data: bytes, how: Plan, form: int, nesting: int, longest: int) -> Found | None:
    """Where the members lie, if the document is in order."""
    room, most = room_for(data), 64 + len(data) // _SHORTEST
    while room // 4 < most:
        one = Found(how, room)
        rows = one.add(data, form, nesting, longest)
        if rows != FULL:
            return one if rows >= 0 else None
        room *= 4
    return None


def room_for(data: bytes, size: int = 0) -> int:
    """How many records a document may have, by how many its beginning has; at least as many as `size` bytes like it."""
    density = max(1, data.count(_MARK, 0, _SAMPLE)) / max(1, min(_SAMPLE, len(data)))
    return 64 + int(max(len(data), size) * min(1.25 * density, 1 / _SHORTEST))


def keyed_hashes(documents: tuple[bytes, ...], slices: _Slices) -> U64:
    """Hashes, with this process's secret, of the bytes that lie at these slices, which are all there."""
    hashes = np.empty(len(slices), np.uint64)
    _members.hashes(documents, np.ascontiguousarray(slices), _KEY, hashes)
    return hashes
