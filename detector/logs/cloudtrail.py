"""CloudTrail records → access records. Pure: bytes in, rows and rejects out.

Rules of this file
- The fast way decodes a whole file into typed records. A file that refuses (one wrong-typed field, a lone surrogate, a
  broken tail) is decoded again record by record, and only what cannot be read is rejected.
- A record is rejected only if it has no readable event time or is no JSON object; whatever else is missing or odd is null.
- All texts are the requester's: nothing here is evaluated, and texts are made valid UTF-8.

Source of the shapes: AWS CloudTrail user guide, "CloudTrail record contents", "userIdentity element"; Amazon S3 user
guide, "Amazon S3 CloudTrail events".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

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
}
INTERNAL = "AWS Internal"
BROKEN = "broken_json"


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


_FILE = msgspec.json.Decoder(File)
_ARRAY = msgspec.json.Decoder(list[Record])
_RECORD = msgspec.json.Decoder(Record)


def parse(data: bytes, name: str, into: BatchBuilder) -> bool:
    """All records of a CloudTrail document: `{"Records": […]}`, an array, lines, or single events, wrapped or not.

    Every record becomes a row or a reject of `into`; positions count records from 1. Returns whether the document was
    whole (False: its JSON is broken somewhere, and what could be read around the break was).
    """
    records = _quickly(data)
    if records is None:
        return _slowly(data, name, into)
    for position, record in enumerate(records, 1):
        _enter(record, name, position, into)
    return True


def _quickly(data: bytes) -> list[Record] | None:
    """The records of a document in one of the plain forms, or None: it has to be read piece by piece."""
    start = data[:64].lstrip()
    try:
        if start.startswith(b"["):
            records = _ARRAY.decode(data)
        elif start.startswith(b'{"Records"') or start.startswith(b'{ "Records"'):
            return _FILE.decode(data).Records
        else:
            records = _RECORD.decode_lines(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return records if all(record.eventName for record in records) else None


def _slowly(data: bytes, name: str, into: BatchBuilder) -> bool:
    whole = True
    for position, (value, problem) in enumerate(_documents(data), 1):
        if problem:
            into.reject(name, position, *problem)
            whole = whole and problem[0] != BROKEN
            continue
        record = _typed(value)
        if record is None:
            into.reject(name, position, "not_a_record", f"expected an object, got {type(value).__name__}")
        else:
            _enter(record, name, position, into)
    return whole


def _typed(value: Any) -> Record | None:
    """A decoded JSON value as a record: whole if all its fields have the expected types, else field by field."""
    if not isinstance(value, dict):
        return None
    value = _readable(value)
    try:
        return msgspec.convert(value, Record, strict=False)
    except (msgspec.ValidationError, RecursionError):
        record = Record()
    for field in msgspec.structs.fields(Record):
        if value.get(field.encode_name) is not None:
            try:
                setattr(record, field.name, msgspec.convert(value[field.encode_name], field.type, strict=False))
            except (msgspec.ValidationError, RecursionError):
                continue
    return record


Document = tuple[Any, tuple[str, str] | None]


def _documents(data: bytes) -> Iterator[Document]:
    """The records of a document one by one, whatever its form; broken pieces as (None, (reason, detail))."""
    text = data.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    at = _skip_space(text, 0)
    while at < len(text):
        at = _records_head(text, at) or at
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            yield None, (BROKEN, str(error))
            at = _resume(text, at)
        else:
            yield from _unwrap(value)
        at = _skip_space(text, at, ",]}")


def _records_head(text: str, at: int) -> int | None:
    """Where the first record begins in `{"Records": [` or `[`, if a document of that form begins here."""
    if text.startswith("[", at):
        return _skip_space(text, at + 1, "]")
    if not text.startswith("{", at):
        return None
    key = _skip_space(text, at + 1)
    if not text.startswith('"Records"', key):
        return None
    colon = _skip_space(text, key + len('"Records"'))
    bracket = _skip_space(text, colon + 1)
    return _skip_space(text, bracket + 1, "]}") if text[colon : colon + 1] == ":" and text[bracket : bracket + 1] == "[" else None


def _skip_space(text: str, at: int, also: str = "") -> int:
    while at < len(text) and (text[at] in " \t\r\n\x1e\ufeff" or text[at] in also):
        at += 1
    return at


def _resume(text: str, at: int) -> int:
    """Where reading may go on after a broken record: at the next record's first field. Raw quotes cannot stand inside
    a JSON string, so this cannot be faked by what a record says."""
    found = [p for mark in ('{"eventVersion"', '{"Records"', "\n{") if (p := text.find(mark, at + 1)) >= 0]
    return _skip_space(text, min(found)) if found else len(text)


def _unwrap(value: Any) -> Iterator[Document]:
    """A decoded JSON value as records: EventBridge's `detail` and CloudWatch Logs' `logEvents` opened."""
    match value:
        case {"Records": list(records)}:
            for record in records:
                yield from _unwrap(record)
        case list():
            for record in value:
                yield from _unwrap(record)
        case {"detail-type": _, "detail": dict(detail)}:
            yield detail, None
        case {"messageType": "CONTROL_MESSAGE"}:
            return
        case {"logEvents": list(events)}:
            for event in events:
                message = event.get("message") if isinstance(event, dict) else None
                yield from _documents(message.encode("utf-8", "replace")) if isinstance(message, str) else iter(
                    [(None, ("not_a_record", "a log event without a message"))]
                )
        case dict():
            yield value, None
        case _:
            yield None, ("not_a_record", f"expected an object, got {type(value).__name__}")


def _readable(value: Any) -> Any:
    """The same value with every text valid UTF-8 (a lone surrogate is what is left of a cut emoji)."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_readable(k): _readable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_readable(v) for v in value]
    return value


def _enter(record: Record, name: str, position: int, into: BatchBuilder) -> None:
    skip = SKIPPED_TYPES.get(record.eventType or "") or SKIPPED_CATEGORIES.get(record.eventCategory or "") or Skip.no
    when = record.eventTime or record.timestamp
    second = epoch(when) if when else None
    partition = f"{record.recipientAccountId or _owner(record)}/{record.awsRegion or ''}"
    if skip in (Skip.aggregated, Skip.insight):
        into.add(Row(Log.cloudtrail, second or 0, text_hash(dedup_id(record)), partition, skip))
        return
    if second is None:
        into.reject(name, position, "no_event_time" if not when else "bad_event_time", when or "")
        return
    operation = _operation(record)
    if operation is None or skip:
        into.add(Row(Log.cloudtrail, second, text_hash(dedup_id(record)), partition, skip or Skip.not_s3))
        return
    into.add(_row(record, second, partition, operation, dedup_id(record)))


def dedup_id(record: Record) -> str:
    """What names a record in all its copies; a record without any id is named by its content."""
    original = record.addendum.originalEventID if record.addendum else None
    return record.sharedEventID or original or record.eventID or xxh64_hexdigest(msgspec.json.encode(record))


def _owner(record: Record) -> str:
    return (record.userIdentity.accountId if record.userIdentity else None) or ""


def _operation(record: Record) -> Operation | None:
    """Class of an access event; None if the record is not about S3 access."""
    source, api = record.eventSource or "", record.eventName or ""
    kind = classify(api)
    if source in S3_SOURCES:
        return kind
    if source == "sts.amazonaws.com" and kind is Operation.assume:
        return kind
    if source == "cloudtrail.amazonaws.com" and kind is Operation.control:
        return kind
    if source == "kms.amazonaws.com" and kind is Operation.decrypt and _kms_object(record):
        return kind
    return None


def _kms_object(record: Record) -> str | None:
    """ARN of the object or bucket that a KMS call was made for."""
    parameters = record.requestParameters
    context = parameters.encryptionContext.s3_arn if parameters and parameters.encryptionContext else None
    return context[0] if isinstance(context, list) and context else context if isinstance(context, str) else None


def _row(record: Record, second: int, partition: str, operation: Operation, event_id: str) -> Row:
    parameters = record.requestParameters or _NO_PARAMETERS
    additional = record.additionalEventData or _NO_ADDITIONAL
    who = principal(record)
    bucket, key = place(record, operation)
    copied = operation is Operation.copy
    internal = operation is Operation.read and record.sourceIPAddress is not None and record.sourceIPAddress.startswith(INTERNAL)
    return Row(
        Log.cloudtrail,
        second,
        text_hash(event_id),
        partition,
        link=text_hash(additional.id2) if additional.id2 and (copied or internal) else 0,
        operation=operation,
        outcome=outcome(record.errorCode),
        bytes=int(additional.bytesTransferredOut or 0),
        who=who,
        has_arn=bool(record.userIdentity and record.userIdentity.arn),
        api=record.eventName,
        bucket=bucket,
        key=key,
        destination=parameters.bucketName if copied else None,
        source_ip=record.sourceIPAddress or None,
        user_agent=_agent(record.userAgent),
        auth=_AUTH.get(additional.AuthenticationMethod or "", "none"),
        event_id=event_id,
        request_id=record.requestID,
        region=record.awsRegion,
        vpc_endpoint=record.vpcEndpointId,
        tls=record.tlsDetails.tlsVersion if record.tlsDetails else None,
        sse=additional.SSEApplied,
        kms_key=parameters.keyId,
        version_id=parameters.versionId,
        signed_at=_or_null(epoch(parameters.signed_at) if parameters.signed_at else None),
        signed_for=_whole(parameters.signed_for),
    )


_NO_PARAMETERS, _NO_ADDITIONAL = Parameters(), Additional()
_AUTH = {"AuthHeader": "header", "QueryString": "query"}


def _agent(text: str | None) -> str | None:
    """S3 writes the user agent in brackets."""
    return text[1:-1] if text and text.startswith("[") and text.endswith("]") else text


def _or_null(value: int | None) -> int:
    return -1 if value is None else value


def _whole(value: str | int | None) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdigit()) else -1


def outcome(error: str | None) -> Outcome:
    """success without an error code; denied for AccessDenied and anything Unauthorized; else error."""
    if not error:
        return Outcome.success
    if error.startswith(("AccessDenied", "AllAccessDisabled")) or "Unauthorized" in error:
        return Outcome.denied
    return Outcome.error


def place(record: Record, operation: Operation) -> tuple[str | None, str | None]:
    """Bucket and key of what was accessed: from the resources' ARNs, else from the parameters; for a copy its source."""
    parameters = record.requestParameters or _NO_PARAMETERS
    if operation is Operation.copy:
        return copy_source(parameters.copy_source or "")
    if operation is Operation.decrypt:
        return split_arn(_kms_object(record) or "")
    bucket: str | None = None
    key: str | None = None
    for resource in record.resources or ():
        if resource.ARN and resource.type == "AWS::S3::Object":
            bucket, key = split_arn(resource.ARN)
        elif resource.ARN and resource.type == "AWS::S3::Bucket" and bucket is None:
            bucket = split_arn(resource.ARN)[0]
    return bucket or parameters.bucketName or None, key or parameters.key or None


def split_arn(arn: str) -> tuple[str | None, str | None]:
    """`arn:aws:s3:::bucket/key` → (bucket, key). Access points name no bucket: (None, key)."""
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":
        return None, None
    if parts[5].startswith("accesspoint"):
        _, _, key = parts[5].partition("/object/")
        return None, key or None
    bucket, _, key = parts[5].partition("/")
    return bucket or None, key or None


def copy_source(text: str) -> tuple[str | None, str | None]:
    """`x-amz-copy-source`: `bucket/key`, perhaps with a leading slash, URL-encoded, with `?versionId=`, or an ARN."""
    path = text.lstrip("/").partition("?versionId=")[0]
    if path.startswith("arn:") or path.startswith("arn%3A"):
        bucket, key = split_arn(unquote(path))
        return bucket, key
    bucket, _, key = unquote(path).partition("/")
    return bucket or None, key or None


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
    if kind == "AWSService" or (invoked_by and not principal_id and not arn):
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
        session, session_shown, role, role_shown, name = role_session(principal_id, arn, *issuer, account)
        return Principal(kind, session, session_shown, role, role_shown, owner, session_name=name, **extra)
    name = arn or principal_id or other_id or f"{owner}:{kind or UNKNOWN}"
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
