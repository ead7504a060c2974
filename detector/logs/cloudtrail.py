"""CloudTrail records → access records. Pure: bytes in, rows and rejects out.

Rules of this file
- A record is rejected only if it has no readable event time or is no readable JSON object; whatever else is missing or
  odd is null.
- All texts are the requester's: nothing here is evaluated, and texts are made valid UTF-8.

How a document falls into records is in `documents.py`, what a record looks like in `record.py`, who made the request in
`identity.py`, what it accessed in `place.py`.
"""

from __future__ import annotations

import msgspec
from xxhash import xxh64_hexdigest

from detector.core.access import MAX_BYTES, BatchBuilder, Log, Operation, Outcome, Row, Skip, text_hash
from detector.core.operation import classify
from detector.core.times import epoch
from detector.logs import documents
from detector.logs.documents import BROKEN, UNCLOSED, Trouble
from detector.logs.identity import principal
from detector.logs.place import kms_object, place
from detector.logs.record import Additional, Parameters, Record

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
INTERNAL = "AWS Internal"


def parse(data: bytes, name: str, into: BatchBuilder) -> bool:
    """All records of a CloudTrail document: `{"Records": […]}`, an array, lines, or single events, wrapped or not.

    Every record becomes a row or a reject of `into`; positions count records from 1. Returns whether the document was
    whole (False: its JSON is broken somewhere, and what could be read around the break was).
    """
    position, whole = 0, True
    for found in documents.records(data):
        if isinstance(found, Trouble):
            whole = whole and found.reason not in {BROKEN, UNCLOSED}
            if found.reason == UNCLOSED:
                continue
            position += 1
            into.reject(name, position, *found)
        else:
            position += 1
            _enter(found, name, position, into)
    return whole


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
        return kind
    return kind if source == "kms.amazonaws.com" and kms_object(record) else None


_ELSEWHERE = {
    "sts.amazonaws.com": Operation.assume,
    "cloudtrail.amazonaws.com": Operation.control,
}
"""What other services do about the right to access, and about its record; KMS calls count where S3 made them."""


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
