"""Usual server access log lines → columns. Pure.

What a field means is said by `access_line.py` alone; here it is asked once for each distinct text where texts are often
the same. Only the columns that are asked for are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from xxhash import xxh64_intdigest

from detector.core.access import (
    ALL_DIFFERENT,
    I8,
    I32,
    I64,
    MAX_BYTES,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    U64,
    AccessBatch,
    Column,
    Index,
    Log,
    Mask,
    Skip,
    unresolved,
)
from detector.core.builder import BatchBuilder
from detector.core.operation import api_of_access_log
from detector.core.principals import Principals
from detector.logs.access_line import (
    SHORTEST_HOST_ID,
    Right,
    auth_of,
    key_of,
    outcome,
    principal,
    right_of,
    signed,
    text,
)
from detector.logs.usual_lines import (
    ADDRESS,
    BUCKET,
    KEY,
    OPERATION,
    OWNER,
    REQUEST_ID,
    REQUESTER,
    UsualLines,
    is_nothing,
    joined,
)

_FROM_THE_RIGHT = frozenset({*Right._fields, "signed_at", "signed_for"})


def columns(lines: UsualLines, into: BatchBuilder) -> AccessBatch:
    """At least one line as the columns that are asked for."""
    count, asked = len(lines), into.columns
    keyed = ~is_nothing(lines.block, *lines.span(KEY))
    logged, bucket = lines.column(OPERATION), lines.column(BUCKET)
    api, operation = _operations(logged, keyed)
    event_id = _event_ids(lines)
    spelled = event_id.astype(">u8").tobytes().hex()
    who = _who(lines, into)
    texts: dict[str, Callable[[], Column]] = {
        "api": lambda: api,
        "bucket": lambda: _each(text, bucket),
        "key": lambda: _column("key", list(map(key_of, _texts(logged), lines.texts(KEY)))),
        "source_ip": lambda: _each(text, lines.column(ADDRESS)),
        "event_id": lambda: _column("event_id", [spelled[at : at + 16] for at in range(0, 16 * count, 16)]),
        "request_id": lambda: _column("request_id", list(map(text, lines.texts(REQUEST_ID)))),
        "log_operation": lambda: logged,
    }
    numbers: dict[str, Callable[[], I64]] = {"status": lambda: _statuses(lines.result)}
    if asked & _FROM_THE_RIGHT:
        of_right, of_signature = _from_the_right(lines)
        texts |= {name: partial(of_right.__getitem__, name) for name in of_right}
        numbers |= {name: partial(of_signature.__getitem__, name) for name in of_signature}
    nothing = Column(np.full(count, -1, np.int32), [])
    return AccessBatch(
        time=lines.time,
        id=_hashes(np.frombuffer(spelled.encode(), "S16").tolist()),
        link=np.zeros(count, np.uint64),
        skip=np.full(count, Skip.no, np.int8),
        log=np.full(count, Log.server_access, np.int8),
        operation=operation,
        outcome=_outcomes(lines.result),
        bytes=_sizes(lines.sent()) if "bytes" in asked else np.zeros(count, np.int64),
        who=who >> 1,
        has_arn=(who & 1).astype(np.bool_),
        unresolved=unresolved(operation, is_nothing(lines.block, *lines.span(BUCKET)), keyed),
        principals=Principals(),
        prints=np.zeros(0, np.uint64),
        partition=_each("{}/".format, lines.column(OWNER)) if "partition" in asked else Column(nothing.codes + 1, [""]),
        text={name: texts[name]() if name in texts else nothing for name in TEXT_COLUMNS if name in asked},
        number={name: numbers[name]() for name in NUMBER_COLUMNS if name in asked},
    )


def _hashes(texts: Sequence[bytes]) -> U64:
    """`text_hash` of each of these texts."""
    return np.fromiter(map(xxh64_intdigest, texts), np.uint64, len(texts))


def _each(meaning: Callable[[str], str | None], column: Column) -> Column:
    """What every text means, asked once for each distinct one."""
    return Column.of(list(map(meaning, column.values))).take(column.codes.astype(np.intp))


def _column(name: str, texts: Sequence[str | None]) -> Column:
    return Column.of(texts, distinct=name in ALL_DIFFERENT)


def _texts(column: Column) -> list[str]:
    """The text of every row of a column without nulls."""
    return list(map(column.values.__getitem__, column.codes.tolist()))


def _operations(logged: Column, keyed: Mask) -> tuple[Column, I8]:
    """CloudTrail's name and the class of every operation."""
    kinds = [api_of_access_log(name, has_key) for name in logged.values for has_key in (False, True)]
    codes = 2 * logged.codes + keyed
    return Column(codes, [api for api, _ in kinds]), np.array([kind for _, kind in kinds], np.int8)[codes]


def _event_ids(lines: UsualLines) -> U64:
    """The hash of every line's `access_line.dedup_text`."""
    return _hashes(joined(lines.block, *map(lines.span, (REQUEST_ID, OPERATION, BUCKET, KEY))))


def _who(lines: UsualLines, into: BatchBuilder) -> I32:
    """Twice the code of every requester, plus one where it is an ARN. Nobody (`-`) is known by address."""
    requester, end = lines.span(REQUESTER)
    address, _ = lines.span(ADDRESS)
    nobody = is_nothing(lines.block, requester, end)
    # With the space before it: no identity of another log begins so.
    named = joined(lines.block, (np.where(nobody, address, requester) - 1, end))
    known = into.known
    codes = list(map(known.get, named))
    if None in codes:
        known |= {text: _code(text.decode(), into) for text in dict.fromkeys(named) if text not in known}
        codes = list(map(known.get, named))
    return np.fromiter(codes, np.int32, len(codes))


def _code(named: str, into: BatchBuilder) -> int:
    *address, requester = named[1:].split(" ")
    who = principal(requester, text(address[0]) if address else None)
    return into.code(who) << 1 | requester.startswith("arn:")


def _outcomes(result: Column) -> I8:
    return np.array([outcome(*text.split(" ")) for text in result.values], np.int8)[result.codes]


def _statuses(result: Column) -> I64:
    found = [text.split(" ")[0] for text in result.values]
    return np.array([-1 if status == "-" else int(status) for status in found], np.int64)[result.codes]


def _sizes(sent: I64) -> I64:
    """As `access_line.size` has it."""
    return np.where(sent < MAX_BYTES, sent, 0)


_AUTHS = ["header", "none", "query"]


def _from_the_right(lines: UsualLines) -> tuple[dict[str, Column], dict[str, I64]]:
    """What is read from the right of every line; and of pre-signed requests when they were signed and for how long."""
    codes, found = _rights(lines)
    auths = np.array([_AUTHS.index(right.auth) if right.auth else -1 for right in found], np.int8)[codes]
    for row in np.flatnonzero(auths < 0).tolist():
        auths[row] = _AUTHS.index(auth_of(found[codes[row]], _uri(lines, row)))
    at, for_ = np.full((2, len(lines)), -1, np.int64)
    for row in np.flatnonzero(auths == _AUTHS.index("query")).tolist():
        at[row], for_[row] = signed(_uri(lines, row), "query")
    texts = dict(zip(Right._fields, map(Column.of, zip(*found, strict=True)), strict=True))
    texts = {name: column.take(codes) for name, column in texts.items()}
    return texts | {"auth": Column(auths.astype(np.int32), _AUTHS)}, {"signed_at": at, "signed_for": for_}


def _rights(lines: UsualLines) -> tuple[Index, list[Right]]:
    """Codes of what is read from the right of every line, and what the codes stand for."""
    known: dict[tuple[bytes, ...], int] = {}
    codes: list[int] = []
    found: list[Right] = []
    block, begin, end = lines.block, lines.places.figures[7].tolist(), lines.places.end.tolist()
    for rest in [block[b:e] for b, e in zip(begin, end, strict=True)]:
        alike = _without_host_id(rest)
        code = known.get(alike)
        if code is None:
            code = known[alike] = len(found)
            found.append(right_of(rest.rstrip(b"\r").decode("utf-8", "replace")))
        codes.append(code)
    return np.array(codes, np.intp), found


def _without_host_id(rest: bytes) -> tuple[bytes, ...]:
    """All that `right_of` looks at: a host id takes part in nothing where it is the second field after a user agent."""
    quoted, _, tail = rest.rpartition(b'"')
    fields = tail.split(b" ", 3)
    if len(fields) == 4 and len(fields[2]) >= SHORTEST_HOST_ID and fields[2].isascii() and quoted.count(b'"') != 1:
        return quoted, fields[0], fields[1], fields[3]
    return (rest,)


def _uri(lines: UsualLines, row: int) -> str | None:
    """The target of a line's request, or None if there was none."""
    _, begin, end, last_quote = lines.places.request[:, row].tolist()
    return lines.block[begin + 1 : end].decode() if end < last_quote else None
