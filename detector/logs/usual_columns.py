"""Usual server access log lines → columns. Pure.

What a field means is said by `access_line.py` alone; here it is asked once for each distinct text where texts are often
the same. Only the columns that are asked for are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

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
from detector.core.met import MARK
from detector.core.operation import api_of_access_log
from detector.core.principal import Principal, prints_of
from detector.core.principals import Principals, Unread
from detector.logs import kernel
from detector.logs.access_line import Right, auth_of, key_of, outcome, principal, right_of, signed, text
from detector.logs.usual_lines import (
    ADDRESS,
    AFTER_HOST_ID,
    BUCKET,
    KEY,
    OPERATION,
    OWNER,
    REQUEST_ID,
    RESULT,
    RIGHT,
    TARGET,
    WHO,
    UsualLines,
)

_FROM_THE_RIGHT = frozenset({*Right._fields, "signed_at", "signed_for"})
_ALWAYS = frozenset({WHO, OPERATION, RESULT})


def told_apart(asked: frozenset[str]) -> frozenset[int]:
    """The columns of usual lines whose texts `columns` needs told apart for what is asked."""
    needed = {"partition": OWNER, "bucket": BUCKET, "source_ip": ADDRESS}
    right = {RIGHT, AFTER_HOST_ID} if asked & _FROM_THE_RIGHT else set()
    return _ALWAYS.union(right, (needed[name] for name in asked & needed.keys()))


def columns(lines: UsualLines, into: BatchBuilder) -> AccessBatch:
    """At least one line as the columns that are asked for."""
    count, asked = len(lines), into.columns
    keyed = lines.slices[KEY, :, 0] >= 0
    logged, result = lines.column(OPERATION), lines.column(RESULT)
    api, operation = _operations(logged, keyed)
    texts: dict[str, Callable[[], Column]] = {
        "api": lambda: api,
        "bucket": lambda: lines.column(BUCKET),
        "key": lambda: _column("key", _keys(lines, logged)),
        "source_ip": lambda: lines.column(ADDRESS),
        "event_id": lambda: _column("event_id", _spelled(lines)),
        "request_id": lambda: _column("request_id", lines.texts(REQUEST_ID)),
        "log_operation": lambda: logged,
        "error_code": lambda: _errors(result),
    }
    numbers: dict[str, Callable[[], I64]] = {"status": lambda: _statuses(result)}
    if asked & _FROM_THE_RIGHT:
        of_right, of_signature = _from_the_right(lines)
        texts |= {name: partial(of_right.__getitem__, name) for name in of_right}
        numbers |= {name: partial(of_signature.__getitem__, name) for name in of_signature}
    nothing = Column.null(count)
    who = _who(lines, into)
    return AccessBatch(
        time=lines.time,
        id=lines.id,
        link=np.zeros(count, np.uint64),
        skip=np.full(count, Skip.no, np.int8),
        log=np.full(count, Log.server_access, np.int8),
        operation=operation,
        outcome=_outcomes(result),
        bytes=_sizes(lines.sent) if "bytes" in asked else np.zeros(count, np.int64),
        who=who >> 1,
        has_arn=(who & 1).astype(np.bool_),
        unresolved=unresolved(operation, lines.slices[BUCKET, :, 0] < 0, keyed),
        principals=Principals(),
        prints=np.zeros(0, np.uint64),
        partition=_partition(lines) if "partition" in asked else Column(nothing.codes + 1, [""]),
        text={name: texts[name]() if name in texts else nothing for name in TEXT_COLUMNS if name in asked},
        number={name: numbers[name]() for name in NUMBER_COLUMNS if name in asked},
    )


def _column(name: str, texts: Sequence[str | None]) -> Column:
    return Column.of(texts, distinct=name in ALL_DIFFERENT)


def _partition(lines: UsualLines) -> Column:
    owner = lines.column(OWNER)
    return Column(owner.codes, list(map("{}/".format, owner.values)))


def _keys(lines: UsualLines, logged: Column) -> list[str | None]:
    """The objects' keys."""
    keys = lines.texts(KEY)
    for row in np.flatnonzero(lines.slices[KEY, :, 1] < -1).tolist():
        begin, end = lines.slices[KEY, row].tolist()
        keys[row] = key_of(logged.values[logged.codes[row]], lines.data[begin:-end].decode())
    return keys


def _spelled(lines: UsualLines) -> list[str]:
    """The dedup id of every line."""
    spelled = lines.event_id.astype(">u8").tobytes().hex()
    return [spelled[at : at + 16] for at in range(0, len(spelled), 16)]


def _operations(logged: Column, keyed: Mask) -> tuple[Column, I8]:
    """CloudTrail's name and the class of every operation."""
    kinds = [api_of_access_log(name, has_key) for name in logged.values for has_key in (False, True)]
    codes = 2 * logged.codes + keyed
    return Column(codes, [api for api, _ in kinds]), np.array([kind for _, kind in kinds], np.int8)[codes]


def _who(lines: UsualLines, into: BatchBuilder) -> I32:
    """Twice the code of every requester, plus one where it is an ARN. Names are read of those that are new to us."""
    slices = lines.slices[WHO, lines.firsts(WHO)]
    # No identity of another log begins with a space, as these texts do. The mark keeps a hash from being 0.
    hashes = kernel.keyed_hashes((lines.data,), slices) | MARK

    def read(new: Index) -> tuple[U64, Mask]:
        prints = prints_of(map(requester_of, kernel.texts((lines.data,), slices[new], True)))
        return np.frombuffer(prints, np.uint64), _are_arns(lines.data, slices[new])

    def principals(chosen: Index) -> list[Unread]:
        return [Unread(requester_of, text) for text in kernel.texts((lines.data,), slices[chosen], True)]

    return into.known(hashes, read, principals)[lines.codes(WHO)]


def requester_of(named: bytes) -> Principal:
    """Who a text of the column WHO names; nobody (`-`) is known by address."""
    *address, requester = named[1:].decode().split(" ")
    return principal(requester, text(address[0]) if address else None)


def _are_arns(data: bytes, slices: I32) -> Mask:
    """Which requesters are ARNs; nobody is none, whatever the address says."""
    begin, end = slices.T
    arns: Mask = _stand(data, b"arn:", begin + 1) & ~_stand(data, b" -", end - 2)
    return arns


def _stand(data: bytes, text: bytes, at: I32) -> Mask:
    """Where so short a text stands at these places; each has as many bytes."""
    windows = np.ndarray(len(data) - len(text) + 1, f"<u{len(text)}", data, strides=(1,))
    found: Mask = windows[at] == int.from_bytes(text, "little")
    return found


def _outcomes(result: Column) -> I8:
    return np.array([outcome(*text.split(" ")) for text in result.values], np.int8)[result.codes]


def _statuses(result: Column) -> I64:
    found = [text.split(" ")[0] for text in result.values]
    return np.array([-1 if status == "-" else int(status) for status in found], np.int64)[result.codes]


def _errors(result: Column) -> Column:
    return Column.of([text(words.split(" ")[1]) for words in result.values]).take(result.codes.astype(np.intp))


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
    of_after = lines.codes(AFTER_HOST_ID) + 1
    pairs = lines.codes(RIGHT).astype(np.int64) * (len(lines.firsts(AFTER_HOST_ID)) + 1) + of_after
    _, firsts, codes = np.unique(pairs, return_index=True, return_inverse=True)
    begin, end = lines.slices[RIGHT, firsts, 0], lines.slices[[RIGHT, AFTER_HOST_ID]][:, firsts, 1].max(axis=0)
    rests = [lines.data[b:e] for b, e in zip(begin.tolist(), end.tolist(), strict=True)]
    return codes, [right_of(rest.rstrip(b"\r").decode("utf-8", "replace")) for rest in rests]


def _uri(lines: UsualLines, row: int) -> str | None:
    """The target of a line's request, or None if there was none."""
    begin, end = lines.slices[TARGET, row].tolist()
    return lines.data[begin:end].decode() if begin >= 0 else None
