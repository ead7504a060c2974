"""CloudTrail records → access records. Pure: bytes in, rows and rejects out.

Rules of this file
- The fast way decodes a whole file into typed records. A file that refuses is decoded again record by record, so that a
  record of an odd shape costs only itself; a file of broken JSON is read piece by piece, before and after each break.
- A record is rejected only if it has no readable event time or is no readable JSON object; whatever else is missing or
  odd is null.
- All texts are the requester's: nothing here is evaluated, and texts are made valid UTF-8.
- Inside a JSON string quotes are escaped, so no text that a requester chooses can look like the start of a record.

Source of the shapes: AWS CloudTrail user guide, "CloudTrail record contents", "userIdentity element"; Amazon S3 user
guide, "Amazon S3 CloudTrail events".
"""
# ruff: noqa: N815  fields are spelled as CloudTrail spells them

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, get_args, get_origin
from urllib.parse import unquote_plus

import msgspec
from xxhash import xxh64_hexdigest

from detector.core.access import BatchBuilder, Log, Operation, Outcome, Row, Skip, text_hash
from detector.core.operation import classify
from detector.core.principal import UNKNOWN, Principal, account_of_arn, anonymous, role_session, service

ANONYMOUS_ACCOUNTS = frozenset({"anonymous", "ANONYMOUS_PRINCIPAL"})
S3_SOURCES = frozenset(
    {"s3.amazonaws.com", "s3express.amazonaws.com", "s3-outposts.amazonaws.com", "s3-object-lambda.amazonaws.com"}
)
SKIPPED_CATEGORIES = {"Aggregated": Skip.aggregated, "Insight": Skip.insight, "NetworkActivity": Skip.network_activity}
SKIPPED_TYPES = {
    "AwsAggregatedEvent": Skip.aggregated,
    "AwsCloudTrailInsight": Skip.insight,
    "AwsVpceEvent": Skip.network_activity,
    "AwsServiceEvent": Skip.service_event,
}
OBJECT_RESOURCES = frozenset({"AWS::S3::Object", "AWS::S3Express::Object", "AWS::S3Outposts::Object"})
BUCKET_RESOURCES = frozenset({"AWS::S3::Bucket", "AWS::S3Express::DirectoryBucket", "AWS::S3Outposts::Bucket"})
ALIASES = ("-s3alias", "--ol-s3", "--xa-s3", ".mrap")
"""How names end that stand for an access point; no bucket may be called so."""
INTERNAL = "AWS Internal"
BROKEN, TOO_DEEP, NOT_A_RECORD, UNCLOSED = "broken_json", "too_deep", "not_a_record", "unclosed"
MAX_BYTES = 1 << 53
"""More than any object has: such a number is no number of bytes."""
MAX_BREAKS = 1000
"""A file that is broken in more places is not read on."""


class Issuer(msgspec.Struct, gc=False):
    principalId: str | None = None
    arn: str | None = None
    accountId: str | None = None
    userName: str | None = None


class Attributes(msgspec.Struct, gc=False):
    creationDate: str | None = None
    mfaAuthenticated: str | bool | None = None


class SessionContext(msgspec.Struct, gc=False):
    sessionIssuer: Issuer | None = None
    attributes: Attributes | None = None
    sourceIdentity: str | None = None


class Delegate(msgspec.Struct, gc=False):
    userId: str | None = None


class Identity(msgspec.Struct, gc=False):
    type: str | None = None
    principalId: str | None = None
    arn: str | None = None
    accountId: str | None = None
    accessKeyId: str | None = None
    userName: str | None = None
    invokedBy: str | None = None
    sessionContext: SessionContext | None = None
    onBehalfOf: Delegate | None = None
    credentialId: str | None = None


class Context(msgspec.Struct, gc=False):
    s3_arn: str | list[str] | None = msgspec.field(default=None, name="aws:s3:arn")


class Parameters(msgspec.Struct, gc=False):
    bucketName: str | None = None
    key: str | None = None
    copy_source: str | None = msgspec.field(default=None, name="x-amz-copy-source")
    versionId: str | None = None
    signed_at: str | None = msgspec.field(default=None, name="X-Amz-Date")
    signed_for: str | int | None = msgspec.field(default=None, name="X-Amz-Expires")
    keyId: str | None = None
    sse_key: str | None = msgspec.field(default=None, name="x-amz-server-side-encryption-aws-kms-key-id")
    encryptionContext: Context | None = None


class Additional(msgspec.Struct, gc=False):
    bytesTransferredOut: float | None = None
    AuthenticationMethod: str | None = None
    SSEApplied: str | None = None
    id2: str | None = msgspec.field(default=None, name="x-amz-id-2")


class Resource(msgspec.Struct, gc=False):
    type: str | None = None
    ARN: str | None = None
    accountId: str | None = None


class Tls(msgspec.Struct, gc=False):
    tlsVersion: str | None = None


class Addendum(msgspec.Struct, gc=False):
    originalEventID: str | None = None


class Record(msgspec.Struct, gc=False):
    eventTime: str | None = None
    timestamp: str | None = msgspec.field(default=None, name="@timestamp")
    eventSource: str | None = None
    eventName: str | None = None
    awsRegion: str | None = None
    sourceIPAddress: str | None = None
    userAgent: str | None = None
    errorCode: str | None = None
    requestID: str | None = None
    eventID: str | None = None
    eventId: str | None = None
    sharedEventID: str | None = None
    addendum: Addendum | None = None
    eventType: str | None = None
    eventCategory: str | None = None
    recipientAccountId: str | None = None
    vpcEndpointId: str | None = None
    userIdentity: Identity | None = None
    requestParameters: Parameters | None = None
    additionalEventData: Additional | None = None
    resources: list[Resource] | None = None
    tlsDetails: Tls | None = None


class File(msgspec.Struct, gc=False):
    Records: list[Record]


class Envelope(msgspec.Struct, gc=False):
    Records: list[msgspec.Raw]


class Trouble(NamedTuple):
    """What stands where a record was expected. UNCLOSED is no record: a document that ends before its brackets do."""

    reason: str
    detail: str = ""


S = TypeVar("S", bound=msgspec.Struct)
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_FILE = msgspec.json.Decoder(File)
_ARRAY = msgspec.json.Decoder(list[Record])
_RECORD = msgspec.json.Decoder(Record)
_ENVELOPE = msgspec.json.Decoder(Envelope)
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_PIECES = msgspec.json.Decoder(msgspec.Raw)
_IS_FILE = re.compile(rb'\s*\{\s*"Records"')
_IS_ARRAY = re.compile(rb"\s*\[")


def parse(data: bytes, name: str, into: BatchBuilder) -> bool:
    """All records of a CloudTrail document: `{"Records": […]}`, an array, lines, or single events, wrapped or not.

    Every record becomes a row or a reject of `into`; positions count records from 1. Returns whether the document was
    whole (False: its JSON is broken somewhere, and what could be read around the break was).
    """
    records = _at_once(data)
    if records is None:
        mended = _mended(data)
        records = _at_once(mended) if mended != data else None
        data = mended
    if records is None:
        return _one_by_one(data, name, into)
    for position, record in enumerate(records, 1):
        _enter(record, name, position, into)
    return True


def _at_once(data: bytes) -> list[Record] | None:
    """The records of a document in one of the plain forms, or None: it has to be read record by record."""
    try:
        if _IS_FILE.match(data):
            return _FILE.decode(data).Records
        records = _ARRAY.decode(data) if _IS_ARRAY.match(data) else _RECORD.decode_lines(data)
    except _UNDECODABLE:
        return None
    return records if all(record.eventName for record in records) else None


_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def _mended(data: bytes) -> bytes:
    """The same document as valid UTF-8: lone surrogates (what is left of a cut emoji) and broken bytes replaced."""
    data = data.decode("utf-8-sig", "replace").encode()
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], data) if _LONE.search(data) else data


def _one_by_one(data: bytes, name: str, into: BatchBuilder) -> bool:
    position, whole = 0, True
    for found in _found(data):
        if isinstance(found, Trouble):
            whole = whole and found.reason not in {BROKEN, UNCLOSED}
            if found.reason == UNCLOSED:
                continue
        position += 1
        if isinstance(found, Trouble):
            into.reject(name, position, *found)
        else:
            _enter(found, name, position, into)
    return whole


def _found(data: bytes) -> Iterator[Record | Trouble]:
    """The records of a document, whatever its form, and what is no record."""
    for piece in _pieces(data):
        if isinstance(piece, Trouble):
            yield piece
        else:
            yield from _opened(piece)


def _pieces(data: bytes) -> Iterator[bytes | msgspec.Raw | Trouble]:
    """The elements of a document of any form, each as JSON text of its own."""
    try:
        values = _PIECES.decode_lines(data)
    except _UNDECODABLE:
        yield from _scan(data.decode("utf-8", "replace"))
        return
    for value in values:
        yield from _elements(value)


def _elements(value: msgspec.Raw) -> list[msgspec.Raw]:
    """The elements of a list of records; any other JSON value is the one element."""
    try:
        if bytes(memoryview(value)[:1]) == b"[":
            return _ELEMENTS.decode(value)
        return _ENVELOPE.decode(value).Records
    except _UNDECODABLE:
        return [value]


def _whole_number(text: str) -> int | float:
    """A number of any length: Python refuses to read very long ones as an int."""
    return int(text) if len(text) < 100 else float(text)


_JSON = json.JSONDecoder(strict=False, parse_int=_whole_number)


def _opened(piece: bytes | msgspec.Raw) -> Iterator[Record | Trouble]:
    """The records in one element: itself, or what it wraps."""
    try:
        record = _RECORD.decode(piece)
    except _UNDECODABLE:
        record = None
    if record is not None and record.eventName:
        yield record
        return
    try:
        value = _JSON.decode(bytes(piece).decode("utf-8", "replace"))
    except RecursionError:
        yield Trouble(TOO_DEEP, "nested too deeply")
    except ValueError as error:
        yield Trouble(BROKEN, str(error))
    else:
        yield from _unwrapped(value)


def _unwrapped(value: Any) -> Iterator[Record | Trouble]:
    """A decoded JSON value as records: EventBridge's `detail` and CloudWatch Logs' `logEvents` opened."""
    match value:
        case {"eventName": _}:
            yield _typed(value)
        case {"detail-type": _, "detail": dict(detail)}:
            yield _typed(detail)
        case {"messageType": "CONTROL_MESSAGE"}:
            return
        case {"logEvents": list(events)}:
            for event in events:
                yield from _log_event(event)
        case {"id": _, "timestamp": _, "message": str()}:
            yield from _log_event(value)
        case dict():
            yield _typed(value)
        case _:
            yield Trouble(NOT_A_RECORD, f"expected an object, got {type(value).__name__}")


def _log_event(event: Any) -> Iterator[Record | Trouble]:
    message = event.get("message") if isinstance(event, dict) else None
    if isinstance(message, str):
        yield from _found(_mended(message.encode("utf-8", "replace")))
    else:
        yield Trouble(NOT_A_RECORD, "a log event without a message")


def _typed(value: dict[str, Any]) -> Record:
    """A decoded JSON object as a record: whole if all its fields have the expected types, else field by field."""
    try:
        return msgspec.convert(value, Record, strict=False)
    except _UNDECODABLE:
        return _lenient(value, Record)


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
    except _UNDECODABLE:
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


_MEMBER = r'"[^"\\]*+"\s*+:\s*+(?:"(?:[^"\\]|\\.)*+"|\[[^\[\]{}]*+\]|[^\s"\[\]{},:]++)'
_GAP = re.compile(rf"(?:[\s,\]}}\x1e]|{_MEMBER})*+")
_HEAD = re.compile(rf'\[|\{{(?:\s*+{_MEMBER}\s*+,)*+\s*+"(?:Records|logEvents)"\s*+:\s*+\[')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]')
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
_OPENING = re.compile(r'\{\s*"[^"\\]*"')
_STARTS = r'\{\s*"(?:eventVersion|Records|messageType|detail-type)"'


def _scan(text: str) -> Iterator[bytes | Trouble]:
    """The elements of a document that is no valid JSON; a Trouble for every break, and where the end is missing."""
    at, depth, breaks = 0, 0, 0
    while (at := (gap := _between(text, at)).end()) < len(text) and breaks < MAX_BREAKS:
        depth += _nesting(gap[0])
        head = _HEAD.match(text, at)
        if head and (depth <= 0 or head[0] != "["):
            at, depth = head.end(), depth + _nesting(head[0])
            continue
        piece, at = _element(text, at, in_lines=depth <= 0)
        breaks += isinstance(piece, Trouble) and piece.reason == BROKEN
        yield piece
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
    """The JSON value at a place, or why there is none, and where to read on."""
    try:
        _, end = _JSON.raw_decode(text, at)
    except RecursionError:
        return Trouble(TOO_DEEP, "nested too deeply"), _end_of(text, at)
    except ValueError as error:
        return Trouble(BROKEN, str(error)), _next_start(text, at, in_lines=in_lines)
    return text[at:end].encode(), end


def _end_of(text: str, at: int) -> int:
    """Where the object at a place ends, by its brackets."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        depth += _STEP.get(token[0], 0)
        if depth <= 0:
            return token.end()
    return len(text)


def _next_start(text: str, at: int, *, in_lines: bool) -> int:
    """Where the next record begins after a broken one: where something begins as records do, or as this one did.

    Not after a colon: what stands there lies inside a record, and may be of the requester's making.
    """
    opening = _OPENING.match(text, at)
    starts = "|".join([_STARTS, *([re.escape(opening[0])] if opening else []), *([r"(?<=\n)\{"] if in_lines else [])])
    found = re.compile(f"(?<!:)(?<!: )(?:{starts})").search(text, at + 1)
    return found.start() if found else _end_of(text, at)


def _enter(record: Record, name: str, position: int, into: BatchBuilder) -> None:
    skip = SKIPPED_TYPES.get(record.eventType or "") or SKIPPED_CATEGORIES.get(record.eventCategory or "")
    when = record.eventTime or record.timestamp
    second = epoch(when) if when else None
    if second is None and not skip:
        into.reject(name, position, "bad_event_time" if when else "no_event_time", when or "")
        return
    partition = f"{record.recipientAccountId or _owner(record)}/{record.awsRegion or ''}"
    operation = None if skip else _operation(record)
    if second is not None and operation is not None:
        into.add(_row(record, second, partition, operation, dedup_id(record)))
    else:
        named = _summary_id(record) if skip in _SUMMARIES else dedup_id(record)
        into.add(Row(Log.cloudtrail, second or 0, text_hash(named), partition, skip or Skip.not_s3))


_SUMMARIES = {Skip.aggregated, Skip.insight}


def _summary_id(record: Record) -> str:
    """Aggregated records spell `eventId`; the start and the end of an insight share their `sharedEventID`."""
    return record.eventID or record.eventId or dedup_id(record)


def dedup_id(record: Record) -> str:
    """What names a record in all its copies; a record without any id is named by its content."""
    original = record.addendum.originalEventID if record.addendum else None
    return record.sharedEventID or original or record.eventID or xxh64_hexdigest(msgspec.json.encode(record))


def _owner(record: Record) -> str:
    return (record.userIdentity.accountId if record.userIdentity else None) or ""


def _operation(record: Record) -> Operation | None:
    """Class of an access event; None if the record is not about S3 access."""
    source, kind = record.eventSource or "", classify(record.eventName or "")
    if source in S3_SOURCES or _ELSEWHERE.get(source) is kind:
        return None if kind is Operation.decrypt and not _kms_object(record) else kind
    return None


_ELSEWHERE = {
    "sts.amazonaws.com": Operation.assume,
    "cloudtrail.amazonaws.com": Operation.control,
    "kms.amazonaws.com": Operation.decrypt,
}
"""What other services do that is access to S3, or to the right to it, or to its record."""


def _kms_object(record: Record) -> str | None:
    """ARN of the object or bucket that a KMS call was made for."""
    parameters = record.requestParameters
    arn = parameters.encryptionContext.s3_arn if parameters and parameters.encryptionContext else None
    return (arn[0] if arn else None) if isinstance(arn, list) else arn


def _row(record: Record, second: int, partition: str, operation: Operation, event_id: str) -> Row:
    parameters = record.requestParameters or _NO_PARAMETERS
    additional = record.additionalEventData or _NO_ADDITIONAL
    at = place(record, operation)
    return Row(
        Log.cloudtrail,
        second,
        text_hash(event_id),
        partition,
        link=text_hash(additional.id2) if additional.id2 and _linked(record, operation) else 0,
        operation=operation,
        outcome=outcome(record.errorCode),
        bytes=_size(additional.bytesTransferredOut),
        who=principal(record),
        has_arn=bool(record.userIdentity and record.userIdentity.arn),
        api=record.eventName,
        bucket=at.bucket,
        key=at.key,
        destination=at.destination,
        source_ip=record.sourceIPAddress or None,
        user_agent=_agent(record.userAgent),
        auth=_AUTH.get(additional.AuthenticationMethod or "", "none"),
        event_id=event_id,
        request_id=record.requestID,
        region=record.awsRegion,
        access_point=at.access_point,
        vpc_endpoint=record.vpcEndpointId,
        tls=record.tlsDetails.tlsVersion if record.tlsDetails else None,
        sse=additional.SSEApplied,
        kms_key=parameters.keyId or parameters.sse_key or _kms_key(record, operation),
        version_id=parameters.versionId,
        signed_at=_signed_at(parameters.signed_at) if parameters.signed_at else -1,
        signed_for=_whole(parameters.signed_for),
    )


_NO_PARAMETERS, _NO_ADDITIONAL = Parameters(), Additional()
_AUTH = {"AuthHeader": "header", "QueryString": "query"}


def _linked(record: Record, operation: Operation) -> bool:
    """Whether this is a copy, or the read that AWS may make for one."""
    if operation is Operation.copy:
        return True
    return operation is Operation.read and (record.sourceIPAddress or "").startswith(INTERNAL)


def _size(value: float | None) -> int:
    return int(value) if value is not None and 0 <= value < MAX_BYTES else 0


def _agent(text: str | None) -> str | None:
    """S3 writes the user agent in brackets."""
    return text[1:-1] if text and text.startswith("[") and text.endswith("]") else text


def _kms_key(record: Record, operation: Operation) -> str | None:
    if operation is not Operation.decrypt:
        return None
    return next((one.ARN for one in record.resources or () if one.type == "AWS::KMS::Key"), None)


def _signed_at(text: str) -> int:
    second = epoch(text)
    return -1 if second is None else second


def _whole(value: str | int | None) -> int:
    """Seconds from a number or from digits; -1 if it is neither, or more than a century."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
    return value if value is not None and 0 <= value < 1 << 32 else -1


def outcome(error: str | None) -> Outcome:
    """Success without an error code; denied for AccessDenied and anything Unauthorized; else error."""
    if not error:
        return Outcome.success
    if "AccessDenied" in error or "Unauthorized" in error or error.startswith("AllAccessDisabled"):
        return Outcome.denied
    return Outcome.error


class Place(NamedTuple):
    """What was accessed; null where the record does not show it. `access_point`: ARN or alias that led there."""

    bucket: str | None
    key: str | None
    destination: str | None = None
    access_point: str | None = None


def place(record: Record, operation: Operation) -> Place:
    """What a record accessed: from the resources' ARNs, else from the parameters; for a copy its source."""
    parameters = record.requestParameters or _NO_PARAMETERS
    if operation is Operation.decrypt:
        return Place(*split_arn(_kms_object(record) or ""))
    addressed = _addressed(record.resources or (), parameters)
    if operation is Operation.copy:
        return Place(*copy_source(parameters.copy_source or ""), addressed.bucket)
    return addressed


def _addressed(resources: Iterable[Resource], parameters: Parameters) -> Place:
    bucket = key = point = None
    for resource in resources:
        if resource.ARN is None:
            continue
        if resource.type in OBJECT_RESOURCES:
            bucket, key = split_arn(resource.ARN)
        elif bucket is None and resource.type in BUCKET_RESOURCES:
            bucket = split_arn(resource.ARN)[0]
        elif resource.type == "AWS::S3::AccessPoint":
            point = resource.ARN
    named = parameters.bucketName
    if named and named != bucket and bucket_name(named) is None:
        point, named = point or named, None
    return Place(bucket or named or None, key or parameters.key or None, None, point)


def bucket_name(text: str) -> str | None:
    """The bucket that a request names: None if it names an access point, by ARN or by alias."""
    return split_arn(text)[0] if text.startswith("arn:") else None if text.endswith(ALIASES) else text or None


def split_arn(arn: str) -> tuple[str | None, str | None]:
    """`arn:aws:s3:::bucket/key` → (bucket, key). Access points name no bucket: (None, key).

    A bucket's ARN has no account, but for directory buckets (S3 Express) and Outposts, where the word `bucket` says so.
    """
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":
        return None, None
    if parts[4]:
        found = _BUCKET_OF_ACCOUNT.fullmatch(parts[5])
        if not found:
            return None, parts[5].partition("/object/")[2] or None
        return found[1] or found[3], found[2] or found[4] or None
    bucket, _, key = parts[5].partition("/")
    return bucket or None, key or None


_BUCKET_OF_ACCOUNT = re.compile(r"outpost/[^/]+/bucket/([^/]+)(?:/object/(.*))?|bucket/([^/]+)(?:/(.*))?", re.DOTALL)


def copy_source(text: str) -> tuple[str | None, str | None]:
    """`x-amz-copy-source`: `bucket/key`, perhaps with a leading slash, URL-encoded, with `?versionId=`, or an ARN.

    S3 reads a bare `+` in it as a space.
    """
    path = unquote_plus(text.partition("?versionId=")[0]).removeprefix("/")
    if path.startswith("arn:"):
        return split_arn(path)
    bucket, _, key = path.partition("/")
    return bucket_name(bucket), key or None


def principal(record: Record) -> Principal:
    """Who made the request: the contract's table of identity kinds."""
    identity = record.userIdentity or _NOBODY
    context = identity.sessionContext
    issuer = context.sessionIssuer if context else None
    attributes = context.attributes if context else None
    return _principal(
        identity.type,
        identity.principalId or None,
        identity.arn or None,
        identity.accountId or None,
        identity.accessKeyId or None,
        identity.invokedBy or None,
        (issuer.principalId or None, issuer.arn or None) if issuer else (None, None),
        attributes.creationDate if attributes else None,
        attributes.mfaAuthenticated if attributes else None,
        context.sourceIdentity if context else None,
        (identity.onBehalfOf.userId if identity.onBehalfOf else None) or identity.credentialId or identity.userName,
        record.sourceIPAddress if identity.accountId in ANONYMOUS_ACCOUNTS else None,
    )


_NOBODY = Identity()


@lru_cache(maxsize=65_536)
def _principal(
    kind: str | None,
    principal_id: str | None,
    arn: str | None,
    account: str | None,
    access_key: str | None,
    invoked_by: str | None,
    issuer: tuple[str | None, str | None],
    created: str | None,
    mfa: str | bool | None,
    source_identity: str | None,
    other_id: str | None,
    address: str | None,
) -> Principal:
    if account in ANONYMOUS_ACCOUNTS:
        return anonymous(address)
    if kind == "AWSService" or (invoked_by and not (principal_id or arn or other_id or any(issuer))):
        return service(invoked_by or principal_id or UNKNOWN, account, kind or "AWSService")
    owner = account or (account_of_arn(arn) if arn else None) or UNKNOWN
    extra: dict[str, Any] = {
        "principal_id": principal_id,
        "access_key": access_key,
        "issued_at": epoch(created) if created else None,
        "source_identity": source_identity or None,
        "mfa": None if mfa is None else mfa in (True, "true"),
        "invoked_by": invoked_by,
    }
    if kind == "AssumedRole" or (kind == "AWSAccount" and (principal_id or "").startswith("AROA")):
        session, session_shown, role, role_shown, name = role_session(principal_id, arn, *issuer, owner)
        return Principal(kind, session, session_shown, role, role_shown, owner, session_name=name, **extra)
    name = arn or principal_id or other_id or f"{owner}:{kind or UNKNOWN}"
    if kind == "Role" and principal_id:
        return Principal(kind, principal_id, name, principal_id.partition(":")[0], name, owner, **extra)
    return Principal(kind or UNKNOWN, name, name, name, name, owner, **extra)


@lru_cache(maxsize=65_536)
def epoch(text: str) -> int | None:
    """A time of CloudTrail as epoch seconds: `2026-05-01T09:00:00Z`, with fractions, or basic `20260501T090000Z`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    second = int(moment.timestamp() // 1)
    return second if 0 <= second < 1 << 33 else None
