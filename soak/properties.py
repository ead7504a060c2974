"""What holds of every file and every message, however hostile: the properties that the fuzzer tries to break.

Rules of this file
- A property is checked on any bytes. Where it only holds of some (well-formed JSON), it says of which.
- What stands beside hostile bytes is judged, too: known good records come out whatever is put between them.
- `ALIKE` holds every other way to read a kind of log. Each must give what `read` gives: a differential check is a line.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn
from unittest.mock import patch

from detector.core.access import Reject
from detector.core.builder import BatchBuilder
from detector.logs import access_audit, kernel, server_access
from detector.logs.documents import NOT_READ_ON
from detector.logs.envelope import Accept, Parsed, notices
from detector.logs.inflate import GZIP_MAGIC, inflate
from detector.logs.read import ACCESS_AUDIT, CLOUDTRAIL, PARQUET, SERVER_ACCESS, Reading
from soak.reading import NAME, Content, check_reading, content_of, hold, rows, same
from tests.records import log_events, numbered

BOM = b"\xef\xbb\xbf"
LARGEST = 1 << 20
"""Content beyond this (a bomb) is read once; the properties that read it again would take too long."""

GOOD = [json.dumps(one, separators=(",", ":")).encode() for one in numbered(3)]
_LINE = (
    b"owner voice [01/May/2026:12:00:0%d +0000] 192.0.2.7 arn:aws:iam::111122223333:user/dana 3E57427F3EXAMPL%d "
    b'REST.GET.OBJECT a.wav "GET /voice/a.wav HTTP/1.1" 200 - 4096 4096 7 6 "-" "curl/8" -'
)
LINES = [_LINE % (n, n) for n in range(3)]
TOLD = [b'{"timestamp":"2026-05-01T09:00:0%dZ","sample_id":"utt-%d","purpose":"labelling"}' % (n, n) for n in range(3)]
ACCEPT = Accept(frozenset({"trail-logs"}), frozenset({"111122223333"}))


def check_file(data: bytes, *, beside: bool = True) -> None:
    """All properties of a file; without `beside` only those of the file as it is, which takes a fifth of the time."""
    found = check_reading(data)
    content = inflate(data).data
    if len(content) > LARGEST or found.reading.kind == PARQUET:
        return
    _of_its_kind(content, found)
    if beside:
        same(content_of(data), found, "read twice")
        _lines_beside_it(content, LINES)
        _lines_beside_it(content, TOLD)
        _records_beside_it(content)
        if found.reading.kind:
            _containers(content, found)
            _alike(content, found)


def _of_its_kind(content: bytes, found: Content) -> None:
    if found.reading.kind in LINE_BY_LINE:
        hold(len(found.rows) + len(found.rejects) == len(_lines(content)), "a line is not one row or one reject")
        hold({reject.position for reject in found.rejects} <= {n for n, _ in _lines(content)}, "a reject of no line")
    elif found.reading.kind == CLOUDTRAIL:
        _well_formed(content, found)


def _alike(content: bytes, found: Content) -> None:
    for other in ALIKE[found.reading.kind]:
        if (otherwise := other(content)) is not None:
            same(otherwise, found, f"read {other.__name__}")


def check_message(body: str, *, beside: bool = True) -> None:
    """All properties of a message of the queue; without `beside` only those of the message as it is."""
    parsed = notices(body, "m-1")
    hold(notices(body, "m-1") == parsed, "a message is understood in two ways")
    hold(not (parsed.problem and parsed.notices), "a message with notices and a problem")
    hold(parsed.problem.isascii() and (parsed.problem.isprintable()), "a problem that cannot be printed")
    for notice in parsed.notices:
        for text in (notice.name, notice.bucket, notice.key, notice.version, ACCEPT.refusal(notice)):
            hold(text == text.encode("utf-8", "replace").decode(), "a notice with text that is no valid UTF-8")
        if notice.data is not None and len(notice.data) < LARGEST:
            check_file(notice.data, beside=beside)
    if beside:
        _in_sns(body, parsed)
        _among_log_events(body)


# --- other ways to read

Reader = Callable[[bytes], Content | None]


LINE_BY_LINE: dict[str, Callable[[bytes, str, BatchBuilder], None]] = {
    SERVER_ACCESS: server_access.parse,
    ACCESS_AUDIT: access_audit.parse,
}
"""Kinds of log of which every line stands for itself, and what reads them."""


def line_by_line(content: bytes) -> Content:
    """Every line as a file of its own."""
    found, rejects = [], []
    kind = content_of(content).reading.kind
    for number, line in _lines(content.removeprefix(BOM) if kind == ACCESS_AUDIT else content):
        into = BatchBuilder()
        LINE_BY_LINE[kind](line, NAME, into)
        batch = into.build()
        found += rows(batch)
        rejects += [Reject(NAME, number, reject.reason, reject.detail) for reject in batch.rejects]
    return Content(Reading(kind), found, rejects)


def record_by_record(content: bytes) -> Content | None:
    """Every record of a well-formed file as a file of its own."""
    records = _records(content)
    if records is None:
        return None
    found, rejects = [], []
    for position, one in enumerate(records, 1):
        alone = content_of(_file([GOOD[0], _dumped(one)]))
        found += alone.rows[1:]
        rejects += [Reject(NAME, position, reject.reason, reject.detail) for reject in alone.rejects]
    return Content(Reading(CLOUDTRAIL), found, rejects)


def many_together(content: bytes) -> Content:
    """Lines by the kernel, however few they are."""
    with patch.object(server_access, "FEW", 0):
        return content_of(content)


def without_the_kernel(content: bytes) -> Content:
    """Every record decoded, every line by itself."""
    with patch.object(kernel, "BUILT", new=False):
        return content_of(content)


ALIKE: dict[str, tuple[Reader, ...]] = {
    SERVER_ACCESS: (line_by_line, many_together, without_the_kernel),
    ACCESS_AUDIT: (line_by_line,),
    CLOUDTRAIL: (record_by_record, without_the_kernel),
}
"""Kind of log → other ways to read its inflated content. None: this way says nothing about such a file."""


# --- properties of files


def _well_formed(content: bytes, found: Content) -> None:
    """A file of records that strict JSON can read: one row or reject for each, and it is not called broken."""
    records = _records(content)
    if records is not None:
        hold(len(found.rows) + len(found.rejects) == len(records), "a record is not one row or one reject")
        hold(content_of(content).reading.damage == "", "well-formed JSON is called broken")


def _lines_beside_it(content: bytes, lines: list[bytes]) -> None:
    """Between good lines: these come out as they are, and every other line is one row or one reject."""
    good = _good(b"\n".join(lines))
    mixed = content_of(b"\n".join([lines[0], content, *lines[1:]]))
    hold(mixed.rows[0] == good[0] and mixed.rows[-2:] == good[1:], "a line beside hostile bytes is lost or changed")
    hold(len(mixed.rows) + len(mixed.rejects) == 3 + len(_lines(content)), "hostile bytes between lines: books")


def _records_beside_it(content: bytes) -> None:
    """Between good records: those before it come out, and those after it if it is JSON, cut short, or on its own line.

    Not after so many breaks that a file is given up; that is said.
    """
    good = _good(_file(GOOD))
    mixed = content_of(_file([GOOD[0], content, *GOOD[1:]]))
    hold(mixed.rows[:1] == good[:1], "a record before hostile bytes is lost or changed")
    if (is_json := _json(content) is not _NOT_JSON) or content.startswith(b'{"eventVersion":'):
        hold(_given_up(mixed) or mixed.rows[-2:] == good[1:], "a record after a hostile one is lost or changed")
    if is_json and content.startswith(b'{"eventVersion":'):
        cut = content_of(_file([GOOD[0], content[: len(content) * 2 // 3], *GOOD[1:]]))
        hold(cut.rows[:1] == good[:1], "a record before a cut one is lost or changed")
        hold(_given_up(cut) or cut.rows[-2:] == good[1:], "a record after a cut one is lost or changed")
    lined = content_of(b"\n".join([GOOD[0], content.replace(b"\n", b" "), *GOOD[1:]]))
    hold(lined.rows[:1] == good[:1], "a record on the line before is lost or changed")
    hold(_given_up(lined) or lined.rows[-1:] == good[2:], "records on the lines after are lost or changed")
    hold(_given_up(lined) or lined.rows[-2:] == good[1:], "the record on the line after is lost or changed")


@cache
def _good(data: bytes) -> list[tuple[Any, ...]]:
    return content_of(data).rows


def _given_up(found: Content) -> bool:
    return any(NOT_READ_ON in reject.detail for reject in found.rejects)


def _containers(content: bytes, found: Content) -> None:
    """However it was packed it is the same file; of one that is cut, what came before the cut is the same."""
    if content.startswith(GZIP_MAGIC):
        return
    at = len(content) // 3
    whole = gzip.compress(content, 1, mtime=0)
    same(content_of(whole), found, "packed")
    same(content_of(gzip.compress(content[:at], 1) + gzip.compress(content[at:], 1)), found, "packed in two")
    cut = content_of(whole[: len(whole) * 2 // 3])
    hold(cut.reading.damage, "a cut file passes for a whole one")
    if found.reading.kind in LINE_BY_LINE:
        came = len(cut.rows) + len(cut.rejects)
        hold(came <= len(found.rows) + len(found.rejects), "a cut file has more lines")
        hold(cut.rows[:-1] == found.rows[: max(len(cut.rows) - 1, 0)], "a cut file has other rows")
    elif _records(content) is not None:
        hold(cut.rows == found.rows[: len(cut.rows)], "a cut file has other rows")


def _lines(content: bytes) -> list[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1."""
    return [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]


# --- properties of messages


def _in_sns(body: str, parsed: Parsed) -> None:
    """A message that came through a topic says what it says directly, unless that nests too deeply."""
    wrapped = notices(json.dumps({"Type": "Notification", "Message": body}), "m-1")
    too_deep = any(text in wrapped.problem for text in ("SNS envelopes inside each other", "limits.nesting"))
    hold(too_deep or wrapped == parsed or not body, "a topic changes what a message says")


def _among_log_events(body: str) -> None:
    """A hostile log event costs only itself."""
    document = log_events(numbered(3))
    document["logEvents"][1]["message"] = body
    (notice,) = notices(json.dumps(document), "m-1").notices
    hold(notice.data is not None, "log events without data")
    good, mixed = _good(_file(GOOD)), content_of(notice.data or b"")
    hold(mixed.rows[:1] == good[:1] and mixed.rows[-1:] == good[2:], "a hostile log event costs others")
    hold(ACCEPT.refusal(notice) == ACCEPT.refusal(notice), "a refusal that differs")


# --- strict JSON, by the standard library

_NOT_JSON = object()


def _refuse(_: object) -> NoReturn:
    raise ValueError("no strict JSON")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(members) if len({name for name, _ in members}) == len(members) else _refuse(members)


def _json(content: bytes) -> Any:
    """The value of strict JSON without repeated names and infinite numbers, or _NOT_JSON."""
    try:
        value = json.loads(content.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
        _dumped(value)
    except (ValueError, RecursionError):
        return _NOT_JSON
    return value


def _dumped(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _records(content: bytes) -> list[Any] | None:
    """The records of a well-formed `{"Records": […]}` in which each element is one record, or None."""
    match _json(content):
        case {"Records": list(records), **others} if not others and not any(map(_wraps, records)):
            return records
    return None


def _wraps(value: Any) -> bool:
    """Whether an element may hold other records: CloudWatch Logs' payloads and events."""
    return isinstance(value, dict) and "eventName" not in value and not value.keys().isdisjoint(WRAPPERS)


WRAPPERS = {"detail-type", "messageType", "logEvents", "message"}


def _file(records: list[bytes]) -> bytes:
    return b'{"Records":[' + b",".join(records) + b"]}"
