"""CloudTrail records → access records. Pure: bytes in, rows and rejects out.

Rules of this file
- A record is rejected only if it has no readable event time or is no readable JSON object; whatever else is missing or
  odd is null.
- All texts are the requester's: nothing here is evaluated, and texts are made valid UTF-8.
- A file is turned into columns as a whole. Most texts of a file are alike or few, and are looked at once.

How a document falls into records is in `documents.py`, what a record looks like in `record.py`, who made the request in
`identity.py`, what it accessed in `place.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh64_hexdigest

from detector.core.access import (
    ALL_DIFFERENT,
    I8,
    I64,
    MAX_BYTES,
    NUMBER_COLUMNS,
    OF_OBJECTS,
    TEXT_COLUMNS,
    U64,
    AccessBatch,
    BatchBuilder,
    Column,
    Index,
    Log,
    Mask,
    Operation,
    Outcome,
    Skip,
    text_hash,
    text_hashes,
    unresolved,
)
from detector.core.operation import classify
from detector.core.times import epoch
from detector.logs import documents
from detector.logs.documents import BROKEN, UNCLOSED, Trouble
from detector.logs.identity import account, decoded, who
from detector.logs.limits import LIMITS
from detector.logs.place import PLACE_COLUMNS, bucket_name, copy_source, kms_object, place
from detector.logs.record import LINK, WHOLE, Additional, Parameters, Shape, shape

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


def parse(data: bytes, name: str, into: BatchBuilder, longest: int = LIMITS.record) -> bool:
    """All records of a CloudTrail document: `{"Records": […]}`, an array, lines, or single events, wrapped or not.

    Every record becomes a row or a reject of `into`; positions count records from 1. longest: bytes a record may have.
    Returns whether the document was whole (False: its JSON is broken somewhere; what could be read around it was).
    """
    asked, whole = shape(into.columns), True
    found = documents.records(data, asked, longest)
    times = _times(found) if isinstance(found, list) else None
    if times is None:
        # Something is out of the ordinary. A record without an id is named by its whole content: all of it is needed.
        asked = WHOLE
    elif more := _missing(found, asked):
        asked, times = shape(into.columns | more), None
    if times is None:
        found, times, whole = _one_by_one(documents.records(data, asked, longest), name, into)
    if found:
        into.extend(_columns(found, np.fromiter(times, np.int64, len(times)), asked, into))
    return whole


def _missing(records: Iterable[Any], asked: Shape) -> set[str]:
    """What these records have to be decoded with all the same: members that few records need."""
    apis, addresses = {record.eventName for record in records}, {record.sourceIPAddress for record in records}
    copies = any(classify(api) is Operation.copy for api in apis)
    linked = copies or any((address or "").startswith(INTERNAL) for address in addresses)
    hidden = not asked.columns.intersection(PLACE_COLUMNS) and _hides_bucket(records)
    return ({LINK} if linked and LINK not in asked.columns else set()) | ({*PLACE_COLUMNS} if hidden else set())


class _Times(dict[str | None, int | None]):
    """Epoch seconds by text; None if it is no time."""

    def __missing__(self, text: str | None) -> int | None:
        if len(self) > 1 << 16:
            self.clear()
        second = self[text] = epoch(text)
        return second


_SECONDS = _Times()


def _times(records: list[Any]) -> list[int] | None:
    """Event times, or None if a record has none, or has no id: then the records have to be looked at one by one."""
    times = [_SECONDS[record.eventTime] for record in records]
    if None in times or not all([record.eventID for record in records]):  # noqa: C419  a list is faster
        return None
    return times  # type: ignore[return-value]


def _one_by_one(found: Any, name: str, into: BatchBuilder) -> tuple[list[Any], list[int], bool]:
    """The records that have a time, or need none, with their times; the others are rejected. Each gets an id."""
    records, times, whole, position = [], [], True, 0
    for record in found:
        position += not (isinstance(record, Trouble) and record.reason == UNCLOSED)
        if isinstance(record, Trouble):
            whole = whole and record.reason not in {BROKEN, UNCLOSED}
            if record.reason != UNCLOSED:
                into.reject(name, position, *record)
            continue
        when = record.eventTime or record.timestamp
        second, skip = _SECONDS[when], _skip(record.eventType, record.eventCategory)
        if second is None and not skip:
            into.reject(name, position, "bad_event_time" if when else "no_event_time", when or "")
            continue
        record.eventID = _own_id(record, skip)
        records.append(record)
        times.append(second or 0)
    return records, times, whole


def _own_id(record: Any, skip: Skip) -> str:
    """A record's id; without one it is named by its content. Aggregated records spell `eventId`."""
    of_summary = record.eventId if skip in {Skip.aggregated, Skip.insight} else None
    return (
        record.eventID
        or of_summary
        or record.sharedEventID
        or (record.addendum and record.addendum.originalEventID)
        or _content_id(record)
    )


def _content_id(record: Any) -> str:
    """However its identity was spelled (with spaces, members we do not read, numbers for texts), it is read alike."""
    record.userIdentity = msgspec.Raw(msgspec.json.encode(decoded(bytes(record.userIdentity))))
    return xxh64_hexdigest(msgspec.json.encode(record))


def _skip(kind: str | None, category: str | None) -> Skip:
    return SKIPPED_TYPES.get(kind or "") or SKIPPED_CATEGORIES.get(category or "") or Skip.no


def _columns(records: Any, time: I64, asked: Shape, into: BatchBuilder) -> AccessBatch:
    """The records as columns. time: epoch seconds. What is no access event keeps its time, id and partition only."""
    skip = _skips(records)
    operation, access = _operations(records)
    skip = np.where((skip == Skip.no) & ~access, np.int8(Skip.not_s3), skip)
    ids = _ids(records, skip)
    people = _people(records, into)
    place_columns, unresolved_ = _places(records, operation, asked)
    asked_texts = [name for name in TEXT_COLUMNS if name in into.columns]
    text = {n: place_columns[n] if n in place_columns else _texts(n, records, operation, ids) for n in asked_texts}
    piece = AccessBatch(
        time=time,
        id=text_hashes(ids),
        link=_links(records, operation) if LINK in asked.columns else np.zeros(len(records), np.uint64),
        skip=skip,
        log=np.full(len(records), Log.cloudtrail, np.int8),
        operation=operation,
        outcome=_outcomes([record.errorCode for record in records]),
        bytes=_bytes(records) if "bytes" in into.columns else np.zeros(len(records), np.int64),
        who=people >> 1,
        has_arn=(people & 1).astype(np.bool_),
        unresolved=unresolved_,
        principals=[],
        prints=np.zeros(0, np.uint64),
        partition=_partitions(records) if "partition" in into.columns else Column.of([""] * len(records)),
        text=text,
        number={c: np.array(_NUMBERS[c](records), np.int64) for c in NUMBER_COLUMNS if c in into.columns},
    )
    out = np.flatnonzero(skip != Skip.no)
    return _blanked(piece, out) if len(out) else piece


def _blanked(piece: AccessBatch, rows: Index) -> AccessBatch:
    """The piece with nothing but time, id and partition in the rows that are no access events."""
    for array in (piece.link, piece.operation, piece.outcome, piece.bytes, piece.has_arn, piece.unresolved):
        array[rows] = 0
    piece.who[rows] = -1
    for column in piece.text.values():
        column.codes[rows] = -1
    for number in piece.number.values():
        number[rows] = -1
    return piece


def _by_text(texts: Sequence[str | None], meaning: Callable[[str | None], int], dtype: type[np.generic]) -> Any:
    """What every row's text means, looked up once for each distinct text."""
    column = Column.of(texts)
    return np.array([*map(meaning, column.values), meaning(None)], dtype)[column.codes]


def _skips(records: list[Any]) -> I8:
    kinds = [record.eventType for record in records]
    categories = [record.eventCategory for record in records]
    if kinds.count(kinds[0]) == len(kinds) and categories.count(categories[0]) == len(categories):
        return np.full(len(records), _skip(kinds[0], categories[0]), np.int8)
    return np.array(list(map(_skip, kinds, categories)), np.int8)


_S3, _KMS = 1, 2
_ELSEWHERE = {
    "sts.amazonaws.com": Operation.assume,
    "cloudtrail.amazonaws.com": Operation.control,
}
"""What other services do about the right to access, and about its record; KMS calls count where S3 made them."""


def _operations(records: list[Any]) -> tuple[I8, Mask]:
    """Class of every record's operation, and whether it is about S3 access."""
    sources = [record.eventSource for record in records]
    operation: I8 = _by_text([record.eventName for record in records], lambda name: classify(name or ""), np.int8)
    access: Mask = _by_text(sources, S3_SOURCES.__contains__, np.bool_)
    if not access.all():
        elsewhere = _by_text(sources, lambda source: _ELSEWHERE.get(source or "", -1), np.int8)
        of_kms = _by_text(sources, lambda source: source == "kms.amazonaws.com", np.bool_)
        of_kms[of_kms] = [kms_object(records[row]) is not None for row in np.flatnonzero(of_kms)]
        access |= (elsewhere == operation) | of_kms
    return operation, access


def _ids(records: list[Any], skip: I8) -> list[str]:
    """What names each record in all its copies."""
    ids = [record.eventID for record in records]
    for row in [row for row, one in enumerate(records) if one.sharedEventID or one.addendum]:
        if skip[row] not in {Skip.aggregated, Skip.insight}:
            addendum = records[row].addendum
            ids[row] = records[row].sharedEventID or (addendum and addendum.originalEventID) or ids[row]
    return ids


def _people(records: list[Any], into: BatchBuilder) -> npt.NDArray[np.int32]:
    """Who made each request, as `identity.who` says it."""
    texts = list(map(bytes, [record.userIdentity for record in records]))
    known = into.known
    codes = list(map(known.get, texts))
    if None in codes:
        for row, code in enumerate(codes):
            if code is None:
                codes[row] = known.get(texts[row]) or who(texts[row], records[row].sourceIPAddress, into)
    return np.fromiter(codes, np.int32, len(codes))


def _partitions(records: list[Any]) -> Column:
    """The delivery each record came by: account/region."""
    accounts = [record.recipientAccountId for record in records]
    if not all(accounts):
        accounts = [one or account(bytes(r.userIdentity)) for one, r in zip(accounts, records, strict=True)]
    regions = [record.awsRegion or "" for record in records]
    if accounts.count(accounts[0]) == len(accounts) and regions.count(regions[0]) == len(regions):
        return Column(np.zeros(len(records), np.int32), [f"{accounts[0]}/{regions[0]}"])
    return Column.of([f"{owner}/{region}" for owner, region in zip(accounts, regions, strict=True)])


def _links(records: list[Any], operation: I8) -> U64:
    """For a copy, or a read that AWS may have made for one, the hash of their common host id."""
    links = np.zeros(len(records), np.uint64)
    internal = [row for row, one in enumerate(records) if (one.sourceIPAddress or "").startswith(INTERNAL)]
    reads = [row for row in internal if operation[row] == Operation.read]
    for row in [*np.flatnonzero(operation == Operation.copy), *reads]:
        additional = records[row].additionalEventData
        if additional and additional.id2:
            links[row] = text_hash(additional.id2)
    return links


def _outcomes(errors: list[str | None]) -> I8:
    if errors.count(None) == len(errors):
        return np.full(len(errors), Outcome.success, np.int8)
    found: I8 = _by_text(errors, outcome, np.int8)
    return found


def outcome(error: str | None) -> Outcome:
    """Success without an error code; denied for AccessDenied and anything Unauthorized; else error."""
    if not error:
        return Outcome.success
    if "AccessDenied" in error or "Unauthorized" in error or error.startswith("AllAccessDisabled"):
        return Outcome.denied
    return Outcome.error


def _bytes(records: list[Any]) -> I64:
    sizes = [(one.additionalEventData or _NO_ADDITIONAL).bytesTransferredOut for one in records]
    return np.array([int(s) if s is not None and 0 <= s < MAX_BYTES else 0 for s in sizes], np.int64)


_NO_PARAMETERS, _NO_ADDITIONAL = Parameters(), Additional()


def _hides_bucket(records: Iterable[Any]) -> bool:
    """Whether an object was asked for by a name that is no bucket's: then only the resources show which it was."""
    named = [(record.requestParameters or _NO_PARAMETERS).bucketName for record in records]
    plain = {name: bool(name and bucket_name(name)) for name in set(named)}
    if all(plain.values()):
        return False
    return any(
        OF_OBJECTS[operation := classify(record.eventName)] and operation is not Operation.copy
        for name, record in zip(named, records, strict=True)
        if not plain[name]
    )


def _places(records: list[Any], operation: I8, asked: Shape) -> tuple[dict[str, Column], Mask]:
    """Where each access went to, in columns, if they are asked for; and which accesses to objects do not show it."""
    if not asked.columns.intersection(PLACE_COLUMNS):
        copies = operation == Operation.copy
        nameless = np.zeros(len(records), np.bool_)
        for row in np.flatnonzero(copies):
            parameters = records[row].requestParameters or _NO_PARAMETERS
            nameless[row] = copy_source(parameters.copy_source or "")[0] is None
        return {}, unresolved(operation, nameless, copies)
    places = list(map(place, records, operation.tolist()))
    turned = dict(zip(PLACE_COLUMNS, zip(*places, strict=True), strict=True))
    columns = {name: Column.of(texts, distinct=name in ALL_DIFFERENT) for name, texts in turned.items()}
    return columns, unresolved(operation, columns["bucket"].codes < 0, columns["key"].codes >= 0)


def _texts(name: str, records: list[Any], operation: I8, ids: list[str]) -> Column:
    """A text column that is one member of the record, or little more."""
    nothing: list[str | None] = [None] * len(records)
    texts: list[str | None] = [*ids] if name == "event_id" else _TEXTS[name](records) if name in _TEXTS else nothing
    if name == "kms_key":
        for row in np.flatnonzero(operation == Operation.decrypt):
            texts[row] = texts[row] or _kms_key(records[row])
    column = Column.of(texts, distinct=name in ALL_DIFFERENT)
    return Column(column.codes, list(map(_agent, column.values))) if name == "user_agent" else column


_TEXTS: dict[str, Callable[[list[Any]], list[str | None]]] = {
    "api": lambda records: [r.eventName for r in records],
    "source_ip": lambda records: [r.sourceIPAddress or None for r in records],
    "user_agent": lambda records: [r.userAgent for r in records],
    "auth": lambda records: [_auth(r.additionalEventData) for r in records],
    "request_id": lambda records: [r.requestID for r in records],
    "region": lambda records: [r.awsRegion for r in records],
    "vpc_endpoint": lambda records: [r.vpcEndpointId for r in records],
    "tls": lambda records: [r.tlsDetails.tlsVersion if r.tlsDetails else None for r in records],
    "sse": lambda records: [(r.additionalEventData or _NO_ADDITIONAL).SSEApplied for r in records],
    "kms_key": lambda records: [p.keyId or p.sse_key for p in _parameters(records)],
    "version_id": lambda records: [p.versionId for p in _parameters(records)],
}
"""Text column → its texts; columns that CloudTrail never fills are null, `event_id` and places are made elsewhere."""

_NUMBERS: dict[str, Callable[[list[Any]], list[int]]] = {
    "status": lambda records: [-1] * len(records),
    "signed_at": lambda records: [_signed_at(p.signed_at) if p.signed_at else -1 for p in _parameters(records)],
    "signed_for": lambda records: [_whole(p.signed_for) for p in _parameters(records)],
}


def _parameters(records: list[Any]) -> list[Any]:
    return [record.requestParameters or _NO_PARAMETERS for record in records]


def _auth(additional: Any) -> str:
    return _AUTH.get(additional.AuthenticationMethod or "", "none") if additional else "none"


_AUTH = {"AuthHeader": "header", "QueryString": "query"}


def _agent(text: str) -> str:
    """S3 writes the user agent in brackets."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _kms_key(record: Any) -> str | None:
    return next((one.ARN for one in record.resources or () if one.type == "AWS::KMS::Key"), None)


def _signed_at(text: str) -> int:
    second = epoch(text)
    return -1 if second is None else second


def _whole(value: str | int | None) -> int:
    """Seconds from a number or from digits; -1 if it is neither, or more than a century."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
    return value if value is not None and 0 <= value < 1 << 32 else -1
