"""S3 server access logs: bytes → rows. Pure.

One row or one reject for every line that is not blank. The usual lines of a file become columns together; a line that
is in any way unusual goes to the exact parser of `access_line.py`, in its turn. Both read a usual line alike: it has
six quotes, and what stands between them must be what belongs there, so there is one reading of it, whatever the
requester wrote.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from detector.core.access import (
    ALL_DIFFERENT,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    AccessBatch,
    BatchBuilder,
    Column,
    Log,
    Row,
    Skip,
    text_hashes,
    unresolved,
)
from detector.core.operation import api_of_access_log
from detector.logs.access_line import (
    Right,
    auth_of,
    dedup_text,
    epoch_seconds,
    key_of,
    outcome,
    principal,
    right_of,
    row_of,
    signed,
    size,
    text,
)
from detector.logs.limits import LIMITS

_BEGINNING = re.compile(rb"[^ ]++ [^ ]++ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] (?:[0-9A-Fa-f.:]++|-) ")
_REQUEST = re.compile(r"[A-Za-z_-]{1,32}+ [^ ]++ HTTP/[0-9.]{1,8}+", re.ASCII)
_WHOLE = "[0-9]{1,18}+|-"
_FIGURES = re.compile(
    rf" ([0-9]{{3}}|-) ([\w.:-]{{1,99}}+) ({_WHOLE}) (?:{_WHOLE}) (?:{_WHOLE}) (?:{_WHOLE}) ", re.ASCII
)
_FROM_THE_RIGHT = frozenset({*Right._fields, "signed_at", "signed_for"})


def looks_like(head: bytes) -> bool:
    """Whether a file that begins with `head` looks like an access log: one of its first 20 lines does."""
    return any(_BEGINNING.match(line) for line in head.split(b"\n", 20)[:20])


def parse(data: bytes, name: str, into: BatchBuilder, longest_line: int = LIMITS.line) -> None:
    """Add a row or a reject to `into` for every line of `data`; `name` is the file rejects are filed under.

    Reasons: `line_too_long`, and those of `access_line.row_of`.
    """
    lines = data.split(b"\n")
    short = max(map(len, lines)) <= longest_line
    usual = _usual(data.decode("utf-8", "replace").split("\n")) if short else _Lines([], [], [], [], [])
    done = 0
    for number in sorted(set(range(len(lines))).difference(usual.number)):
        if lines[number].strip():
            done = _take(usual, done, bisect_left(usual.number, number), into)
            _take_one(lines[number], number + 1, name, into, longest_line)
    _take(usual, done, len(usual.number), into)


def _take(usual: _Lines, first: int, end: int, into: BatchBuilder) -> int:
    """Add these usual lines, up to `end`, where the next ones begin."""
    if first < end:
        into.extend(_columns(usual.between(first, end), into))
    return end


def _take_one(line: bytes, number: int, name: str, into: BatchBuilder, longest_line: int) -> None:
    if len(line) > longest_line:
        into.reject(name, number, "line_too_long", f"{len(line):,} bytes; limits.line is {longest_line:,}")
        return
    row = row_of(line.rstrip(b"\r").decode("utf-8", "replace"))
    if isinstance(row, Row):
        into.add(row)
    else:
        into.reject(name, number, row)


class _Lines(NamedTuple):
    """Usual lines in pieces. number: of the line, from 0. parts: text between the quotes. left: fields before the
    request. figures: status, error and bytes after it. time: epoch seconds.
    """

    number: list[int]
    parts: list[list[str]]
    left: list[list[str]]
    figures: list[tuple[str, ...]]
    time: list[int]

    def between(self, first: int, end: int) -> _Lines:
        """Some of these lines."""
        return _Lines._make(part[first:end] for part in self)


def _usual(lines: list[str]) -> _Lines:
    """The usual ones of these lines."""
    found = _Lines([], [], [], [], [])
    for number, line in enumerate(lines):
        parts = line.split('"')
        figures = _FIGURES.fullmatch(parts[2]) if len(parts) == 7 and parts[4] == " " else None
        if figures is None or not (parts[1] == "-" or _REQUEST.fullmatch(parts[1])):
            continue
        left = parts[0].split(" ")
        if len(left) == 10 and left.count("") == 1 and not left[9] and parts[6][-1:] != "\r":
            bracketed = f"{left[2]} {left[3]}"
            second = epoch_seconds(bracketed[1:-1]) if bracketed[0] == "[" and bracketed[-1] == "]" else None
            if second is not None:
                found.number.append(number)
                found.parts.append(parts)
                found.left.append(left)
                found.figures.append(figures.groups())
                found.time.append(second)
    return found


def _columns(lines: _Lines, into: BatchBuilder) -> AccessBatch:
    count, columns = len(lines.time), into.columns
    owners, buckets, _, _, addresses, requesters, request_ids, operations, keys, _ = zip(*lines.left, strict=True)
    hashes = text_hashes(list(map(dedup_text, request_ids, operations, buckets, keys)))
    spelled = hashes.astype(">u8").tobytes().hex()
    event_ids = [spelled[at : at + 16] for at in range(0, 16 * count, 16)]
    keyed = np.array([key != "-" for key in keys], np.bool_)
    of_operation = Column.of(operations)
    classes = [[api_of_access_log(name, has_key) for has_key in (False, True)] for name in of_operation.values]
    table = np.array([[kind for _, kind in pair] for pair in classes], np.int8)
    operation = table[of_operation.codes, keyed.astype(np.intp)]
    people = np.fromiter(map(_who(into), requesters, addresses), np.int32, count)
    rights = _rights(lines) if columns & _FROM_THE_RIGHT else []
    texts: dict[str, Callable[[], Any]] = {
        "api": lambda: [classes[c][k][0] for c, k in zip(of_operation.codes.tolist(), keyed.tolist(), strict=True)],
        "bucket": lambda: list(map(text, buckets)),
        "key": lambda: list(map(key_of, operations, keys)),
        "source_ip": lambda: list(map(text, addresses)),
        "event_id": lambda: event_ids,
        "request_id": lambda: list(map(text, request_ids)),
        "log_operation": lambda: operations,
    } | {name: lambda name=name: [getattr(right, name) for right, _, _ in rights] for name in Right._fields}
    numbers: dict[str, Callable[[], list[int]]] = {
        "status": lambda: [-1 if status == "-" else int(status) for status, _, _ in lines.figures],
        "signed_at": lambda: [at for _, at, _ in rights],
        "signed_for": lambda: [for_ for _, _, for_ in rights],
    }
    nothing = [None] * count
    return AccessBatch(
        time=np.array(lines.time, np.int64),
        id=text_hashes(event_ids),
        link=np.zeros(count, np.uint64),
        skip=np.full(count, Skip.no, np.int8),
        log=np.full(count, Log.server_access, np.int8),
        operation=operation,
        outcome=np.array([outcome(status, error) for status, error, _ in lines.figures], np.int8),
        bytes=np.array([size(sent) for _, _, sent in lines.figures] if "bytes" in columns else [0] * count, np.int64),
        who=people >> 1,
        has_arn=(people & 1).astype(np.bool_),
        unresolved=unresolved(operation, np.array([bucket == "-" for bucket in buckets], np.bool_), keyed),
        principals=[],
        prints=np.zeros(0, np.uint64),
        partition=Column.of([f"{owner}/" for owner in owners] if "partition" in columns else [""] * count),
        text={
            name: Column.of(texts[name]() if name in texts else nothing, distinct=name in ALL_DIFFERENT)
            for name in TEXT_COLUMNS
            if name in columns
        },
        number={name: np.array(numbers[name](), np.int64) for name in NUMBER_COLUMNS if name in columns},
    )


def _who(into: BatchBuilder) -> Callable[[str, str], int]:
    """Twice the code of a requester, plus one where it is an ARN."""
    known: dict[str, int] = {}

    def code(requester: str, address: str) -> int:
        if requester == "-":
            return into.code(principal(requester, text(address))) << 1
        if requester not in known:
            known[requester] = into.code(principal(requester, None)) << 1 | requester.startswith("arn:")
        return known[requester]

    return code


def _rights(lines: _Lines) -> list[tuple[Right, int, int]]:
    """What is read from the right, and of pre-signed requests when they were signed and for how long."""
    out = []
    for parts in lines.parts:
        right = right_of('"'.join(("", *parts[3:])))
        uri = parts[1].split(" ")[1] if parts[1] != "-" else None
        auth = auth_of(right, uri)
        out.append((right._replace(auth=auth), *signed(uri, auth)))
    return out
