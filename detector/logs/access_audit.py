"""The application's own log of access: JSON lines → rows. Pure.

    {"timestamp": "2026-05-01T09:00:00Z", "sample_id": "utt-0042", "requester": "dana", "purpose": "labelling"}

Rules of this file
- A line that is not blank becomes a row or a reject. A time is needed, and what was read: a key or a sample id.
- Names are read as they are usually spelled (`NAMES`): case, `_`, `-`, `.` and `@` do not count. Of several names of
  one thing the first in the table counts. What else a line has is not looked at.
- A record tells what the application says of itself. It is no request that AWS has seen, and must not pass for one: its
  id has a name space of its own and is a hash that nobody can aim, and a requester that is no ARN is `app:<name>`.
- Lines alike in all that is read are copies of one. A writer that numbers its lines (`event_id`) makes none alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from detector.core.access import Log, Operation, Outcome, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.core.principal import UNKNOWN, Principal
from detector.core.times import epoch
from detector.logs.access_line import principal
from detector.logs.documents import BROKEN, NOT_A_RECORD, TOO_DEEP, UNDECODABLE, mended
from detector.logs.limits import LIMITS, Limits
from detector.logs.nesting import levels, openings, shallow
from detector.logs.place import split_arn

NAMES: dict[str, tuple[str, ...]] = {
    "time": ("timestamp", "time", "ts", "datetime", "event_time", "access_time", "accessed_at"),
    "key": ("key", "object_key", "s3_key"),
    "sample_id": ("sample_id", "sample", "recording_id", "utterance_id"),
    "bucket": ("bucket", "bucket_name", "s3_bucket"),
    "uri": ("uri", "s3_uri", "s3_url", "object_arn"),
    "requester": ("requester", "requester_arn", "principal", "principal_arn", "user", "user_name", "actor"),
    "purpose": ("purpose", "purpose_of_use"),
    "source_ip": ("source_ip", "source_ip_address", "client_ip", "remote_ip", "ip_address", "ip"),
    "user_agent": ("user_agent",),
    "request_id": ("request_id",),
    "event_id": ("event_id", "audit_id", "record_id", "id"),
    "outcome": ("outcome",),
}
"""What is read of a line → the names it may have."""

PARTITION = "application/"
"""All writers are one partition: how many there are, only they say themselves."""
OLDEST_MILLISECONDS = 10**11
"""A number from here on counts milliseconds (as seconds it lies in the year 5138); 1,000 times that, microseconds …"""
_OTHERS = ("eventname", "eventsource", "records", "messagetype", "logevents", "detailtype")
_PLACES = {name.replace("_", ""): (at, field) for field, names in NAMES.items() for at, name in enumerate(names)}
_DECODE = msgspec.json.Decoder().decode

Fields = dict[str, Any]
_OF_ID = ("requester", "purpose", "sample_id", "source_ip", "user_agent", "request_id", "event_id")


def looks_like(lines: Iterable[bytes]) -> bool:
    """Whether one of these lines tells of the access to an object, for a purpose or to a sample."""
    return any(_tells(line) for line in lines if line.lstrip().startswith(b"{"))


def parse(data: bytes, name: str, into: BatchBuilder, limits: Limits = LIMITS) -> None:
    """Add a row or a reject to `into` for every line of `data`; `name` is the file rejects are filed under.

    Reasons: `line_too_long`, `too_deep`, `broken_json`, `not_a_record` (no object), `no_event_time`, `bad_event_time`,
    `no_object` (neither key nor sample id).
    """
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            row = _row(line, limits)
            if isinstance(row, Row):
                into.add(row)
            else:
                into.reject(name, number, *row)


def _row(line: bytes, limits: Limits) -> Row | tuple[str, str]:
    """A line's row, or why there is none, and more about it."""
    if len(line) > limits.line:
        return "line_too_long", f"{len(line):,} bytes; limits.line is {limits.line:,}"
    if openings(line) > limits.nesting and (deep := levels(line)) > limits.nesting:
        return TOO_DEEP, f"{deep:,} levels; limits.nesting is {limits.nesting:,}"
    try:
        value = _decoded(line)
    except (*UNDECODABLE, ValueError) as error:
        return BROKEN, str(error)
    if not isinstance(value, dict):
        return NOT_A_RECORD, f"expected an object, got {type(value).__name__}"
    return _row_of(_fields(value))


def _decoded(line: bytes) -> Any:
    """A line's JSON; what is no valid text in it is replaced."""
    try:
        return _DECODE(shallow(line))
    except UNDECODABLE:
        return _DECODE(shallow(mended(line)))


def _tells(line: bytes) -> bool:
    try:
        value = _decoded(line)
    except (*UNDECODABLE, ValueError):
        return False
    if not isinstance(value, dict) or any(_plain(name) in _OTHERS for name in value):
        return False
    told = _fields(value).keys()
    return "time" in told and not told.isdisjoint({"key", "uri", "sample_id"}) and bool(told & {"purpose", "sample_id"})


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    return re.sub(r"[_.@-]", "", name[:40]).lower()


def _fields(record: dict[str, Any]) -> Fields:
    """What is read of a record, by our own names."""
    best: dict[str, tuple[int, Any]] = {}
    for name, value in record.items():
        place = _PLACES.get(_plain(name))
        if place and value is not None and place[0] <= best.get(place[1], place)[0]:
            best[place[1]] = (place[0], value)
    return {field: value for field, (_, value) in best.items()}


def _row_of(given: Fields) -> Row | tuple[str, str]:
    time = _seconds(given.get("time"))
    if time is None:
        return ("bad_event_time", str(given["time"])) if "time" in given else ("no_event_time", "")
    bucket, key = _object(given)
    sample_id, outcome = _text(given.get("sample_id")), _outcome(given.get("outcome"))
    if key is None and sample_id is None:
        return "no_object", "expected key or sample_id"
    event_id = _event_id(time, bucket, key, outcome, *(_text(given.get(name)) for name in _OF_ID))
    return Row(
        Log.access_audit,
        time,
        text_hash(event_id),
        PARTITION,
        operation=Operation.read,
        outcome=outcome,
        who=_who(_text(given.get("requester"))),
        bucket=bucket,
        key=key,
        source_ip=_text(given.get("source_ip")),
        user_agent=_text(given.get("user_agent")),
        event_id=event_id,
        request_id=_text(given.get("request_id")),
        purpose=_text(given.get("purpose")),
        sample_id=sample_id,
    )


def _event_id(*told: int | str | None) -> str:
    return f"audit:{blake2b(msgspec.msgpack.encode(told), digest_size=16).hexdigest()}"


def _object(given: Fields) -> tuple[str | None, str | None]:
    """Bucket and key; either may be given as `s3://bucket/key` or an ARN, too."""
    bucket, key = _text(given.get("bucket")), _text(given.get("key"))
    for text in (_text(given.get("uri")), key):
        found = _split(text) if text else None
        if found:
            return found[0] or bucket, found[1]
    return bucket, key


def _split(text: str) -> tuple[str | None, str | None] | None:
    if text.startswith("s3://"):
        bucket, _, key = text.removeprefix("s3://").partition("/")
        return bucket or None, key or None
    return split_arn(text) if text.startswith("arn:") else None


def _text(value: Any) -> str | None:
    """A text, or a whole number as one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value or None if isinstance(value, str) else None


def _seconds(value: Any) -> int | None:
    """Epoch seconds of a time in ISO 8601, or of a number of seconds, milli-, micro- or nanoseconds since 1970."""
    if isinstance(value, str) and not value.isdecimal():
        return epoch(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 24:
        return None
    number = int(value) if isinstance(value, str) else value
    if not 0 <= number < OLDEST_MILLISECONDS * 10**9:
        return None
    while number >= OLDEST_MILLISECONDS:
        number //= 1000
    return int(number) if number < 1 << 33 else None


def _outcome(value: Any) -> Outcome:
    """A record says nothing of it where it was written before the read: then it may have gone well."""
    return Outcome.__members__.get(value, Outcome.success) if isinstance(value, str) else Outcome.success


@lru_cache(maxsize=1 << 14)
def _who(requester: str | None) -> Principal:
    """Who the application says it was: an ARN as in an access log, else a name that is the application's own."""
    if requester and requester.startswith("arn:"):
        return principal(requester, None)
    name = f"app:{requester or UNKNOWN}"
    return Principal("Application", name, name, name, name, "application")
