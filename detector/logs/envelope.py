"""A message of the queue → the log files, or the inline records, it speaks of. Pure.

Rules of this file
- What a message is, is told by its keys and never configured: `ENVELOPES` is the whole list, first match wins.
- A message is understood whole or not at all: it has notices, or a problem, or (a test message) neither.
- Nothing in a message can raise: what is not understood becomes a problem's text, with log content as `repr` only.
- Inline records are handed on in the shape of a CloudTrail file, `{"Records": [...]}`, so that one parser reads all.

Source of the shapes: S3 user guide, "Event message structure" and "EventBridge event message structure"; SNS developer
guide, "Parsing message formats"; CloudTrail user guide, "Configuring Amazon SNS notifications"; CloudWatch Logs user
guide, "Subscription filters".
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from detector.logs.limits import LIMITS, Limits
from detector.logs.nesting import levels, openings, shallow
from detector.source import Notice

MAX_NESTING = 3
"""SNS envelopes inside each other (a topic that feeds a topic); more is a mistake or an attack."""

NOT_LOGS = frozenset({"CloudTrail-Digest", "CloudTrail-Insight"})
"""Folders beside CloudTrail's own that hold signatures and summaries, not records."""

GZIP = 16 + zlib.MAX_WBITS
MOST_VALUES = 100_000
"""Objects and lists in a packed message: millions of empty ones would take a hundred times their bytes in memory."""

INLINE, INLINE_END = b'{"Records": [', b"]}"
"""What stands around the records that a message itself brings."""

ACCOUNT_IN_KEY = re.compile(r"(?:^|/)AWSLogs/(?:o-[a-z0-9]+/)?(\d{12})/", re.ASCII)
"""Where CloudTrail's file names say whose log it is."""

HALF_CHARACTER = re.compile("[\\ud800-\\udfff]")
"""What JSON can spell and UTF-8 cannot: nothing in S3 is called so, and it can be neither fetched nor written down."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a message says. With a `problem` there are no notices; with neither the message asks for nothing."""

    notices: tuple[Notice, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Origin:
    """The message a document came in, how much it may be, and how many SNS envelopes it may still have."""

    message_id: str
    limits: Limits
    depth: int = MAX_NESTING


class _UnclearError(Exception):
    """The message is not understood; its text is the problem."""


def notices(body: str, message_id: str, limits: Limits = LIMITS) -> Parsed:
    """The log data a message of the queue speaks of. Never raises."""
    try:
        return Parsed(notices=tuple(_read(body, _Origin(message_id, limits))))
    except _UnclearError as why:
        return Parsed(problem=str(why))


def joined(inline: Sequence[bytes]) -> bytes:
    """The inline records of several notices, as one."""
    records = (one[len(INLINE) : -len(INLINE_END)] for one in inline)
    return INLINE + b",".join(some for some in records if some) + INLINE_END


@dataclass(frozen=True, slots=True)
class Accept:
    """What may be read: logs in these buckets, and of these accounts (empty: of any).

    A log file's account stands in its key (`AWSLogs/<account>/…`); a record in the message itself names its recipient.
    """

    buckets: frozenset[str]
    accounts: frozenset[str] = frozenset()

    def refusal(self, notice: Notice) -> str:
        """Why the notice may not be read; empty if it may."""
        if notice.data is None and notice.bucket not in self.buckets:
            return f"not in accept.buckets: {_short(notice.bucket)}"
        strangers = sorted(_accounts(notice) - self.accounts) if self.accounts else []
        return f"not in accept.accounts: {_short(', '.join(strangers))}" if strangers else ""


def _accounts(notice: Notice) -> set[str]:
    """The accounts whose logs a notice brings, as far as it says."""
    if notice.data is None:
        found = ACCOUNT_IN_KEY.search(notice.key)
        return {found[1]} if found else set()
    records = json.loads(notice.data)["Records"]
    named = (record.get("recipientAccountId") for record in records if isinstance(record, dict))
    return {account for account in named if isinstance(account, str)}


def _read(body: str, origin: _Origin) -> Iterator[Notice]:
    document = _document(body, origin.limits)
    for envelope in ENVELOPES:
        if envelope.is_it(document):
            return envelope.read(document, origin)
    raise _UnclearError(f"no known envelope has the keys {_short(sorted(document))}")


def _document(body: str, limits: Limits) -> Json:
    """The JSON object in a body, which CloudWatch Logs gzips and encodes as base64."""
    try:
        packed = body.lstrip()[:1] != "{"
        found = _loads(_inflated(body, limits) if packed else body.encode("utf-8", "surrogatepass"), limits)
    except (ValueError, zlib.error) as error:
        raise _UnclearError(f"neither JSON nor gzipped JSON: {_short(str(error))}, begins {_short(body)}") from error
    if not isinstance(found, dict):
        raise _UnclearError(f"expected a JSON object, got {type(found).__name__}")
    return found


def _inflated(body: str, limits: Limits) -> bytes:
    packed = base64.b64decode(body, validate=True)
    unpacker = zlib.decompressobj(GZIP)
    text = unpacker.decompress(packed, limits.message + 1)
    if len(text) > limits.message:
        raise _UnclearError(f"inflates to more than limits.message, {limits.message:,} bytes")
    if not unpacker.eof:
        raise ValueError("cut short")
    if text.count(b"{") + text.count(b"[") > MOST_VALUES:
        raise _UnclearError(f"more than {MOST_VALUES:,} objects and lists: no records are packed so densely")
    return text


def _loads(text: bytes, limits: Limits) -> Any:
    """A JSON value; what is nested deeper than anybody reads is null. Raises ValueError, also past limits.nesting."""
    if openings(text) > limits.nesting and (deep := levels(text)) > limits.nesting:
        raise _UnclearError(f"{deep:,} levels; limits.nesting is {limits.nesting:,}")
    return json.loads(shallow(text))


# --- readers of one envelope each: (document, where it came from) → notices


def _s3_event(document: Json, _origin: _Origin) -> Iterator[Notice]:
    records = document["Records"]
    for n, record in enumerate(records if isinstance(records, list) else [records]):
        where = f"Records[{n}]"
        if not isinstance(record, dict) or record.get("eventSource") != "aws:s3":
            raise _UnclearError(f"{where}: expected a record with eventSource 'aws:s3'")
        if _text(record, where, "eventName").removeprefix("s3:").startswith("ObjectCreated:"):
            stored = _at(record, where, "s3", "object")
            key = unquote_plus(_text(stored, where, "key"))
            bucket = _text(_at(record, where, "s3", "bucket"), where, "name")
            yield from _log(bucket, key, _version(stored.get("versionId"), stored.get("eTag")), stored.get("size"))


def _sns(document: Json, origin: _Origin) -> Iterator[Notice]:
    if origin.depth == 0:
        raise _UnclearError(f"more than {MAX_NESTING} SNS envelopes inside each other")
    return _read(_text(document, "SNS", "Message"), replace(origin, depth=origin.depth - 1))


def _object_created(document: Json, _origin: _Origin) -> Iterator[Notice]:
    # EventBridge writes the key as it is: decoding it would turn a `+` of the key into a space
    stored = _at(document, "event", "detail", "object")
    bucket = _text(_at(document, "event", "detail", "bucket"), "event.detail.bucket", "name")
    version = _version(stored.get("version-id"), stored.get("etag"))
    yield from _log(bucket, _text(stored, "event.detail.object", "key"), version, stored.get("size"))


def _api_call(document: Json, origin: _Origin) -> Iterator[Notice]:
    yield _inline([_at(document, "event", "detail")], origin)


def _trail_topic(document: Json, _origin: _Origin) -> Iterator[Notice]:
    keys = document["s3ObjectKey"]
    for key in keys if isinstance(keys, list) else [keys]:
        if not isinstance(key, str):
            raise _UnclearError(f"s3ObjectKey: expected text, got {type(key).__name__}")
        yield from _log(_text(document, "CloudTrail", "s3Bucket"), key, "")


def _log_events(document: Json, origin: _Origin) -> Iterator[Notice]:
    events = document["logEvents"]
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise _UnclearError("logEvents: expected a list of objects")
    yield _inline([_record(event.get("message"), origin.limits) for event in events], origin)


def _nothing(_document: Json, _origin: _Origin) -> Iterator[Notice]:
    return iter(())


class Envelope(NamedTuple):
    """One kind of message: what it is, how it is told, how it is read."""

    name: str
    is_it: Callable[[Json], bool]
    read: Callable[[Json, _Origin], Iterator[Notice]]


def _says(key: str, *values: str) -> Callable[[Json], bool]:
    return lambda document: document.get(key) in values


def _has(*keys: str) -> Callable[[Json], bool]:
    return lambda document: all(key in document for key in keys)


def _of_cloudtrail(document: Json) -> bool:
    """An API call, a service's own event, an insight …: what kind of record it is, the record says itself."""
    return str(document.get("detail-type", "")).endswith(" via CloudTrail") and "detail" in document


def _other_s3_event(document: Json) -> bool:
    return document.get("source") == "aws.s3" and str(document.get("detail-type", "")).startswith("Object ")


ENVELOPES = (
    Envelope("S3 test message", _says("Event", "s3:TestEvent"), _nothing),
    Envelope("SNS confirmation", _says("Type", "SubscriptionConfirmation", "UnsubscribeConfirmation"), _nothing),
    Envelope("SNS notification", _has("Type", "Message"), _sns),
    Envelope("S3 notification", _has("Records"), _s3_event),
    Envelope("EventBridge Object Created", _says("detail-type", "Object Created"), _object_created),
    Envelope("EventBridge CloudTrail event", _of_cloudtrail, _api_call),
    Envelope("EventBridge, another S3 event", _other_s3_event, _nothing),
    Envelope("CloudTrail's own SNS message", _has("s3Bucket", "s3ObjectKey"), _trail_topic),
    Envelope("CloudWatch Logs probe", _says("messageType", "CONTROL_MESSAGE"), _nothing),
    Envelope("CloudWatch Logs", _has("messageType", "logEvents"), _log_events),
)


# --- parts


def _log(bucket: str, key: str, version: str, size: Any = 0) -> Iterator[Notice]:
    """The notice of a stored object, if it can be a log: no folder marker, no digest, no insight."""
    for text in (bucket, key, version):
        if HALF_CHARACTER.search(text):
            raise _UnclearError(f"half a character in the name of an object: {_short(text)}")
    if not key.endswith("/") and NOT_LOGS.isdisjoint(key.split("/")):
        announced = size if isinstance(size, int) and size > 0 else 0
        yield Notice(f"s3://{bucket}/{key}", bucket=bucket, key=key, version=version, size=announced)


def _inline(records: list[Any], origin: _Origin) -> Notice:
    return Notice(f"sqs:{origin.message_id}", data=json.dumps({"Records": records}).encode("ascii"))


def _record(message: Any, limits: Limits) -> Any:
    """A record as CloudWatch Logs carries it: JSON in text. What is none stays in an envelope of its own, so that the
    parser knows what it has before it, and rejects it by itself.
    """
    try:
        found = _loads(message.encode("utf-8", "surrogatepass"), limits)
    except (_UnclearError, AttributeError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    return {"messageType": "DATA_MESSAGE", "logEvents": [{"message": message or None}]}


def _version(version_id: Any, etag: Any) -> str:
    """The version id, else the ETag in the quotes it has on the wire, which tell the two apart."""
    if isinstance(version_id, str) and version_id:
        return version_id
    return '"' + etag.strip('"') + '"' if isinstance(etag, str) and etag else ""


def _at(document: Json, where: str, *path: str) -> Json:
    for key in path:
        found = document.get(key)
        where = f"{where}.{key}"
        if not isinstance(found, dict):
            raise _UnclearError(f"{where}: expected an object, got {type(found).__name__}")
        document = found
    return document


def _text(document: Json, where: str, key: str) -> str:
    found = document.get(key)
    if not isinstance(found, str) or not found:
        raise _UnclearError(f"{where}.{key}: expected text, got {'nothing' if found == '' else type(found).__name__}")
    return found


def _short(content: object) -> str:
    return ascii(content)[:100]
