"""A CloudTrail document of any form → its records, and what is no record. Pure.

- The fast way decodes a whole file into typed records of the shape that was asked for. A file that refuses is decoded
  again record by record, so that a record of an odd shape costs only itself; a file of broken JSON is read piece by
  piece, before and after each break.
- Nothing depends on how deep a decoder can go. The fast way takes what it can; of what it cannot, a decoder is given
  only the upper levels (`nesting.py`), and whether it is too deep is counted.
- Inside a JSON string quotes are escaped, so no text that a requester chooses can look like the start of a record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from detector.logs.kernel import ARRAY, DEEPEST, FILE, HASHED, LINES, Found
from detector.logs.limits import LIMITS, Limits
from detector.logs.members import Decoded, Members, sliced
from detector.logs.nesting import READ, levels, openings, shallow
from detector.logs.record import Record, Resource, Shape

BROKEN, UNCLOSED = "broken_json", "unclosed"
TOO_DEEP, TOO_LONG, NOT_A_RECORD = "too_deep", "record_too_long", "not_a_record"
MAX_BREAKS = 1000
"""A file that is broken in more places is not read on."""

MAX_SEARCHES, NEVER_CLOSED = 20, "nested deeply, and never closed"
"""Nor one with so many records that never close: to look for the end of each takes reading all that follows."""

NOT_READ_ON = "not read on from character"

STACK = 2000
"""Python 3.11 counts a caller's frames with the decoder's levels, 1,000 in all; since 3.12 they are counted apart."""


class Envelope(msgspec.Struct, gc=False):
    Records: list[msgspec.Raw]


class Trouble(NamedTuple):
    """What stands where a record was expected. UNCLOSED is no record: a document that ends before its brackets do."""

    reason: str
    detail: str = ""


S = TypeVar("S", bound=msgspec.Struct)
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ENVELOPE = msgspec.json.Decoder(Envelope)
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_PIECES = msgspec.json.Decoder(msgspec.Raw)
_IS_FILE = re.compile(rb'\s*\{\s*"Records"')
_IS_ARRAY = re.compile(rb"\s*\[")


def members(data: bytes, shape: Shape, limits: Limits = LIMITS) -> Members | None:
    """The records of a document that is in order, in a plain form; None if they have to be read one by one."""
    found = _members(data, shape, limits)
    if found is None:
        again = mended(data)
        found = _members(again, shape, limits) if again != data else None
    return found


def records(data: bytes, shape: Shape, limits: Limits = LIMITS) -> Iterator[Any]:
    """The records of a document of any form, one by one: `{"Records": […]}`, an array, lines, or single events, wrapped
    or not. A Trouble stands for what is no record, or past a limit.
    """
    return _found(mended(data), shape, limits)


def add(data: bytes, to: Found, limits: Limits = LIMITS) -> bool:
    """Look for the members of one more document; whether it is in order, and every record has a name, an id and a time.

    If it is not, nothing of it is there.
    """
    first = to.rows
    if to.add(data, _form(data), min(limits.nesting, DEEPEST), limits.record) < 0:
        return False
    rows = slice(first, to.rows)
    if to.times[rows].min(initial=0) >= 0 and to.told("eventName", rows) and to.told(HASHED, rows):
        return True
    to.drop()
    return False


def _form(data: bytes) -> int:
    return FILE if _IS_FILE.match(data) else ARRAY if _IS_ARRAY.match(data) else LINES


def _members(data: bytes, shape: Shape, limits: Limits) -> Members | None:
    form = _form(data)
    try:
        found: Members | None = sliced(data, shape, form, min(limits.nesting, DEEPEST), limits.record)
        if found is None:
            found = _decoded(data, shape, form, limits)
        names = found.column("eventName") if found is not None else None
    except UNDECODABLE:
        return None
    return found if names is not None and (names.codes >= 0).all() and all(names.values) else None


def _decoded(data: bytes, shape: Shape, form: int, limits: Limits) -> Decoded | None:
    if _may_be_past(data, limits) and any(_past(bytes(piece), limits) for piece in _quickly(data, form)):
        return None
    if form == FILE:
        return Decoded(shape.file.decode(data).Records, shape)
    return Decoded(shape.array.decode(data) if form == ARRAY else shape.record.decode_lines(data), shape)


def _may_be_past(data: bytes, limits: Limits) -> bool:
    """Whether a record of the document may be past a limit, so that each has to be looked at."""
    return len(data) > limits.record or (_decodable(limits.nesting) and openings(data) > limits.nesting)


def _past(piece: bytes, limits: Limits) -> Trouble | None:
    """The limit that a record is past."""
    if len(piece) > limits.record:
        return Trouble(TOO_LONG, f"{len(piece):,} bytes; limits.record is {limits.record:,}")
    if openings(piece) > limits.nesting and (deep := levels(piece)) > limits.nesting:
        return Trouble(TOO_DEEP, f"{deep:,} levels; limits.nesting is {limits.nesting:,}")
    return None


@lru_cache(maxsize=64)
def _decodable(nesting: int) -> bool:
    """Whether the decoder may take what is nested deeper than this, whoever calls it: it is asked.

    How deep it goes depends on Python, and on how deep its caller is: by less than STACK levels.
    """
    try:
        _PIECES.decode(b"[" * (nesting - STACK) + b"]" * (nesting - STACK) or b"0")
    except RecursionError:
        return False
    return True


def _quickly(data: bytes, form: int) -> list[msgspec.Raw]:
    """The records of a document in one of the plain forms, as JSON text."""
    if form == FILE:
        return _ENVELOPE.decode(data).Records
    return _ELEMENTS.decode(data) if form == ARRAY else _PIECES.decode_lines(data)


_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def mended(data: bytes) -> bytes:
    """The same document as valid UTF-8: lone surrogates (what is left of a cut emoji) and broken bytes replaced."""
    data = data.decode("utf-8-sig", "replace").encode()
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], data) if _LONE.search(data) else data


def _found(data: bytes, shape: Shape, limits: Limits) -> Iterator[Any]:
    """The records of a document, whatever its form, and what is no record."""
    for piece in _pieces(data):
        if isinstance(piece, Trouble):
            yield piece
        else:
            yield from _opened(bytes(piece), shape, limits)


def _pieces(data: bytes) -> Iterable[bytes | msgspec.Raw | Trouble]:
    """The elements of a document of any form, each as JSON text of its own."""
    try:
        return [element for value in _PIECES.decode_lines(data) for element in _elements(value)]
    except UNDECODABLE:
        return _scan(data.decode("utf-8", "replace"))


def _elements(value: msgspec.Raw) -> list[msgspec.Raw]:
    """The elements of a list of records; any other JSON value is the one element."""
    try:
        if bytes(memoryview(value)[:1]) == b"[":
            return _ELEMENTS.decode(value)
        return _ENVELOPE.decode(value).Records
    except msgspec.MsgspecError:
        return [value]


def _whole_number(text: str) -> int | float:
    """A number of any length: Python refuses to read very long ones as an int."""
    return int(text) if len(text) < 100 else float(text)


_JSON = json.JSONDecoder(strict=False, parse_int=_whole_number)


def _opened(piece: bytes, shape: Shape, limits: Limits) -> Iterator[Any]:
    """The records in one element: itself, or what it wraps."""
    past, text = _past(piece, limits), shallow(piece)
    try:
        record = shape.record.decode(text)
    except UNDECODABLE:
        record = None
    if record is not None and record.eventName:
        yield past or record
        return
    try:
        value = _JSON.decode(text.decode("utf-8", "replace"))
    except ValueError as error:
        yield Trouble(BROKEN, str(error))
    else:
        wraps = isinstance(value, dict) and "logEvents" in value
        yield from [past] if past and not wraps else _unwrapped(value, shape, limits)


def _unwrapped(value: Any, shape: Shape, limits: Limits) -> Iterator[Any]:
    """A decoded JSON value as records: EventBridge's `detail` and CloudWatch Logs' `logEvents` opened."""
    match value:
        case {"eventName": _}:
            yield _typed(value, shape)
        case {"detail-type": _, "detail": dict(detail)}:
            yield _typed(detail, shape)
        case {"messageType": "CONTROL_MESSAGE"}:
            return
        case {"logEvents": list(events)}:
            for event in events:
                yield from _log_event(event, shape, limits)
        case {"id": _, "timestamp": _, "message": str()}:
            yield from _log_event(value, shape, limits)
        case dict():
            yield _typed(value, shape)
        case _:
            yield Trouble(NOT_A_RECORD, f"expected an object, got {type(value).__name__}")


def _log_event(event: Any, shape: Shape, limits: Limits) -> Iterator[Any]:
    message = event.get("message") if isinstance(event, dict) else None
    if isinstance(message, str):
        yield from _found(mended(message.encode("utf-8", "replace")), shape, limits)
    else:
        yield Trouble(NOT_A_RECORD, "a log event without a message")


def _typed(value: dict[str, Any], shape: Shape) -> Any:
    """A decoded JSON object as a record: whole if all its fields have the expected types, else field by field."""
    try:
        return shape.of(msgspec.convert(value, Record, strict=False))
    except UNDECODABLE:
        return shape.of(_lenient(value, Record))


def lenient(text: bytes, shape: type[S]) -> S:
    """JSON text of a part of a record as a struct; what is of the wrong type is null."""
    try:
        value = _JSON.decode(shallow(mended(text)).decode())
    except ValueError:
        return shape()
    return _lenient(value, shape) if isinstance(value, dict) else shape()


def _lenient(value: dict[str, Any], shape: type[S]) -> S:
    """A JSON object as a struct in which a field of the wrong type is null."""
    struct = shape()
    for field in msgspec.structs.fields(shape):
        given = value.get(field.encode_name)
        if given is not None:
            setattr(struct, field.name, _fitted(given, field.type))
    return struct


def _fitted(given: Any, expected: Any) -> Any:
    """A value as the type of its field, or null."""
    try:
        return msgspec.convert(given, expected, strict=False)
    except UNDECODABLE:
        pass
    for type_ in get_args(expected):
        if isinstance(given, dict) and isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            return _lenient(given, type_)
        if isinstance(given, list) and get_origin(type_) is list:
            return (
                [_lenient(one, Resource) for one in given if isinstance(one, dict)]
                if Resource in get_args(type_)
                else None
            )
        if type_ is str:
            return _text(given)
    return None


def _text(given: Any) -> str | None:
    """A text from a number, or from a list: of a parameter that was given twice the first counts."""
    if isinstance(given, list):
        return next((one for one in given if isinstance(one, str)), None)
    return str(given) if isinstance(given, int | float) and not isinstance(given, bool) else None


# No group is repeated possessively: Python before 3.11.5 gets that wrong. Each text matches in one way only, so that
# nothing is tried twice.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_ON_ITS_LINE = r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*"'  # else half a member would take in the record on the line after it
_MEMBER = rf'"[^"\\\n]*+"\s*+:\s*+(?:{_ON_ITS_LINE}|\[[^\[\]{{}}]*+\]|[^\s"\[\]{{}},:]++)'
_GAP = re.compile(rf"(?:[\s,\]}}\x1e]|{_MEMBER})*")
_HEAD = re.compile(rf'\[|\{{(?:\s*+{_MEMBER}\s*+,)*\s*+"(?:Records|logEvents)"\s*+:\s*+\[')
_TOKEN = re.compile(rf"{_STRING}|[\[{{]|[\]}}]")
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
_OPENING = re.compile(r'\{\s*"[^"\\]*"')
_STARTS = r'\{\s*"(?:eventVersion|Records|messageType|detail-type)"'


def _scan(text: str) -> Iterator[bytes | Trouble]:
    """The elements of a document that is no valid JSON; a Trouble for every break, and where the end is missing."""
    at, depth, breaks, searches = 0, 0, 0, 0
    while (at := (gap := _between(text, at)).end()) < len(text) and breaks < MAX_BREAKS and searches < MAX_SEARCHES:
        depth += _nesting(gap[0])
        head = _HEAD.match(text, at)
        if head and (depth <= 0 or head[0] != "["):
            at, depth = head.end(), depth + _nesting(head[0])
            continue
        piece, at = _element(text, at, in_lines=depth <= 0)
        breaks += isinstance(piece, Trouble) and piece.reason == BROKEN
        searches += isinstance(piece, Trouble) and piece.detail == NEVER_CLOSED
        yield piece
    if at < len(text):
        yield Trouble(BROKEN, f"broken in {breaks} places: {NOT_READ_ON} {at}")
    if not breaks and depth + _nesting(gap[0]) > 0:
        yield Trouble(UNCLOSED)


def _between(text: str, at: int) -> re.Match[str]:
    """What stands between two records: commas, closing brackets, and the plain members of what holds the records."""
    found = _GAP.match(text, at)
    assert found is not None  # noqa: S101  it matches nothing, too
    return found


def _nesting(text: str) -> int:
    return text.count("[") + text.count("{") - text.count("]") - text.count("}")


def _element(text: str, at: int, *, in_lines: bool) -> tuple[bytes | Trouble, int]:
    """The JSON value at a place, or why there is none, and where to read on. What is deep is told by its brackets."""
    try:
        _, end = _JSON.raw_decode(text, at)
    except (RecursionError, json.JSONDecodeError) as error:
        deep = isinstance(error, RecursionError) or levels(text[at : error.pos].encode()) > READ
        closed = _end_of(text, at) if deep else None
        if closed is not None:
            return text[at:closed].encode(), closed
        why = NEVER_CLOSED if deep else str(error)
        return Trouble(BROKEN, why), _next_start(text, at, in_lines=in_lines)
    if in_lines and text[at] == '"' and (line_end := text.find("\n", at, end)) >= 0:
        return Trouble(BROKEN, "a text that does not end on its line"), line_end
    return text[at:end].encode(), end


def _end_of(text: str, at: int) -> int | None:
    """Where the object at a place ends, by its brackets; None if it does not."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        depth += _STEP.get(token[0], 0)
        if depth <= 0:
            return token.end()
    return None


def _next_start(text: str, at: int, *, in_lines: bool) -> int:
    """Where the next record begins after a broken one: where something begins as records do, or as this one did.

    Not after a colon: what stands there lies inside a record, and may be of the requester's making.
    """
    opening = _OPENING.match(text, at)
    starts = "|".join([_STARTS, *([re.escape(opening[0])] if opening else []), *([r"(?<=\n)\{"] if in_lines else [])])
    found = re.compile(f"(?<!:)(?<!: )(?:{starts})").search(text, at + 1)
    return found.start() if found else _end_of(text, at) or len(text)
