"""The optional kernel: what it is asked of CloudTrail documents, and what it answers. Pure.

`_members.c` walks a document once and tells where the wanted members of every record lie and which are alike, so that
Python looks at each distinct text once. It is built where there is a compiler (`hatch_build.py`); `BUILT` says whether
it is there, and so is its other half, for access logs (`usual_lines.py`). It reads only documents that are in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args, get_origin

import msgspec
import numpy as np
import numpy.typing as npt

from detector.core.access import I32, I64, U64

try:
    from detector.logs import _lines, _members
except ImportError:
    BUILT = False
else:
    BUILT = True
    texts, usual_lines = _members.texts, _lines.read

FILE, ARRAY, LINES = range(3)
"""Forms of a document that is in order: `{"Records": […]}`, `[…]`, one record a line."""

DEEPEST = 512
"""Levels of a record beyond which the kernel leaves a document to the decoder: it recurses, as `_members.c` says."""

_OBJECT, _TEXT, _RAW, _NUMBER, _ARRAY = range(5)
_ENCODE, _HASH, _TIME = 1, 2, 4
_FULL = -2
SEED = hash(b"members") & (1 << 64) - 1
"""Of the hash tables; nobody outside this process knows it, so nobody can make texts that collide."""

_KEY = b"".join(hash(half).to_bytes(8, "little", signed=True) for half in (b"one half", b"other half"))
"""Of the hashes by which identities are told apart; as secret as the seed."""

_SAMPLE, _MARK = 1 << 16, b'"eventName"'
_SHORTEST = 64
"""Bytes a record has at least: what is shorter is read without the kernel, so that its tables stay small."""

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


@dataclass(frozen=True, slots=True)
class Found:
    """What the kernel filled in: by column and row where the value lies, its code, where a code came first; how many
    codes a column has; the hash of every record's id; its time in epoch seconds, -1 if it is spelled in an unusual way.
    """

    rows: int
    slices: npt.NDArray[np.int32]
    codes: I32
    firsts: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    hashes: U64
    times: I64


def found(data: bytes, how: Plan, form: int, nesting: int, longest: int) -> Found | None:
    """Where the members lie, if the document is in order. nesting: levels a record may have; longest: bytes."""
    columns, rows = len(how.asked), _FULL
    density = max(1, data.count(_MARK, 0, _SAMPLE)) / max(1, min(_SAMPLE, len(data)))
    room, most = 64 + int(1.25 * density * len(data)), 64 + len(data) // _SHORTEST
    while rows == _FULL and room // 4 < most:
        slices, codes = np.empty((columns, room, 2), np.int32), np.empty((columns, room), np.int32)
        firsts, counts = np.empty_like(codes), np.zeros(columns, np.int32)
        hashes, times = np.empty(room, np.uint64), np.empty(room, np.int64)
        filled = (slices, codes, firsts, counts, hashes, times)
        rows = _members.read(data, form, how.members, how.keys, how.asked, nesting, longest, SEED, room, *filled)
        room *= 4
    return Found(rows, *filled) if rows >= 0 else None


def keyed_hashes(data: bytes, slices: npt.NDArray[np.int32]) -> U64:
    """Hashes, with this process's secret, of the bytes that lie at these slices, which are all there."""
    hashes = np.empty(len(slices), np.uint64)
    _members.hashes(data, np.ascontiguousarray(slices), _KEY, hashes)
    return hashes
