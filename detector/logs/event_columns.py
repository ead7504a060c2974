"""CloudTrail events as columns: what the members of records mean. Pure: members in, a batch of access records out.

Rules of this file
- Whatever is missing or odd is null. All texts are the requester's: nothing here is evaluated.
- Most texts of a file are alike or few: each is looked at once, whatever the number of its rows.

How a document falls into records is in `documents.py`, what a record looks like in `record.py`, who made the request in
`identity.py`, what it accessed in `place.py`. Which records are rejected is said in `cloudtrail.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from detector.core.access import (
    I8,
    I32,
    I64,
    MAX_BYTES,
    NUMBER_COLUMNS,
    OF_OBJECTS,
    TEXT_COLUMNS,
    U64,
    AccessBatch,
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
from detector.core.builder import BatchBuilder
from detector.core.operation import classify
from detector.core.principals import Principals
from detector.logs.changes import change
from detector.logs.identity import account, nobody, people
from detector.logs.members import Members, seconds
from detector.logs.place import PLACE_COLUMNS, accounts, bucket_name, context_arn, copy_source, destination_keys, places
from detector.logs.record import LINK, SETTINGS, Shape

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
OWNERS = ("bucket_account", "destination_account")


def skip_of(kind: str | None, category: str | None) -> Skip:
    """Why a record of this type and category is no access event."""
    return SKIPPED_TYPES.get(kind or "") or SKIPPED_CATEGORIES.get(category or "") or Skip.no


def columns(members: Members, time: I64, asked: Shape, into: BatchBuilder) -> AccessBatch:
    """The records as columns. time: epoch seconds. What is no access event keeps its time, id and partition only."""
    people = _people(members, into)
    if into.sought is not None:
        rows = np.flatnonzero(into.sought.rows(time, people >> 1, into))
        members, time, people = members.take(rows), time[rows], people[rows]
    count, wanted = len(members), into.columns
    skip, operation = _skips(members), operations(members)
    skip = np.where((skip == Skip.no) & ~_about_access(members, operation), np.int8(Skip.not_s3), skip)
    texts, unresolved_ = _places(members, operation, asked)
    if not wanted.isdisjoint(OWNERS):
        texts |= accounts(members, operation)
    renamed = _renamed(members, skip)
    for name in TEXT_COLUMNS:
        if name in wanted and name not in texts:
            texts[name] = _event_ids(members, renamed) if name == "event_id" else _text(name, members, operation)
    piece = AccessBatch(
        time=time,
        id=_id_hashes(members, renamed),
        link=_links(members, operation) if LINK in asked.columns else np.zeros(count, np.uint64),
        skip=skip,
        log=np.full(count, Log.cloudtrail, np.int8),
        operation=operation,
        outcome=_by_text(members.column("errorCode"), outcome, np.int8),
        bytes=_bytes(members) if "bytes" in wanted else np.zeros(count, np.int64),
        who=people >> 1,
        has_arn=(people & 1).astype(np.bool_),
        unresolved=unresolved_,
        principals=Principals(),
        prints=np.zeros(0, np.uint64),
        partition=_partitions(members) if "partition" in wanted else Column.of([""] * count),
        text={name: texts[name] for name in TEXT_COLUMNS if name in wanted},
        number={name: _number(name, members) for name in NUMBER_COLUMNS if name in wanted},
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


def _by_text(column: Column, meaning: Callable[[str | None], int], dtype: type[np.generic]) -> Any:
    """What every row's text means, looked up once for each distinct text."""
    return np.array([*map(meaning, column.values), meaning(None)], dtype)[column.codes]


def _skips(members: Members) -> I8:
    of_type = _by_text(members.column("eventType"), lambda kind: skip_of(kind, None), np.int8)
    of_category = _by_text(members.column("eventCategory"), lambda category: skip_of(None, category), np.int8)
    found: I8 = np.where(of_type == Skip.no, of_category, of_type)
    return found


def operations(members: Members) -> I8:
    """Class of every record's operation."""
    found: I8 = _by_text(members.column("eventName"), lambda name: classify(name or ""), np.int8)
    return found


_ELSEWHERE = {
    "sts.amazonaws.com": Operation.assume,
    "cloudtrail.amazonaws.com": Operation.control,
}
"""What other services do about the right to access, and about its record; KMS calls count where S3 made them."""


def _about_access(members: Members, operation: I8) -> Mask:
    """Whether each record is about S3 access."""
    sources = members.column("eventSource")
    access: Mask = _by_text(sources, S3_SOURCES.__contains__, np.bool_)
    if not access.all():
        access |= _by_text(sources, lambda source: _ELSEWHERE.get(source or "", -1), np.int8) == operation
        of_kms = _by_text(sources, lambda source: source == "kms.amazonaws.com", np.bool_)
        if of_kms.any():
            access |= of_kms & [context_arn(given) is not None for given in members.values("s3_arn")]
    return access


def _renamed(members: Members, skip: I8) -> dict[int, str]:
    """Row → what names a record in all its copies, where that is not its own id."""
    shared, original = members.column("sharedEventID"), members.column("originalEventID")
    if not shared.values and not original.values:
        return {}
    summary = (skip == Skip.aggregated) | (skip == Skip.insight)
    rows = np.flatnonzero(((shared.codes >= 0) | (original.codes >= 0)) & ~summary).tolist()
    names = {row: shared.text(row) or original.text(row) for row in rows}
    return {row: name for row, name in names.items() if name}


def _id_hashes(members: Members, renamed: dict[int, str]) -> U64:
    hashes = members.hashes()
    if renamed:
        hashes = hashes.copy()
        hashes[list(renamed)] = text_hashes(list(renamed.values()))
    return hashes


def _event_ids(members: Members, renamed: dict[int, str]) -> Column:
    column = members.column("eventID")
    return column.but(list(renamed), list(renamed.values())) if renamed else column


def _people(members: Members, into: BatchBuilder) -> I32:
    """Who made each request, as `identity.people` says it."""
    who = members.identities()
    found: I32 = people(who, into)[who.codes]
    unnamed = np.flatnonzero(found < 0)
    if len(unnamed):
        addresses = members.column("sourceIPAddress").take(unnamed).texts()
        found[unnamed] = nobody(who.texts(who.codes[unnamed].astype(np.intp)), addresses, into)
    return found


def _partitions(members: Members) -> Column:
    """The delivery each record came by: account/region."""
    accounts, regions = members.column("recipientAccountId"), members.column("awsRegion")
    if (accounts.codes < 0).any() or not all(accounts.values):
        who = members.identities()
        texts = who.texts(np.arange(len(who.hashes)))
        owners = [accounts.text(row) or account(texts[code]) for row, code in enumerate(who.codes.tolist())]
        accounts = Column.of(owners)
    if len(accounts.values) == 1 == len(regions.values) and not regions.codes.any():  # as in most files
        return Column(np.zeros(len(regions.codes), np.int32), [f"{accounts.values[0]}/{regions.values[0]}"])
    places = len(regions.values) + 1
    pairs, codes = np.unique(accounts.codes.astype(np.int64) * places + regions.codes + 1, return_inverse=True)
    names = [(accounts.values[pair // places], ["", *regions.values][pair % places]) for pair in pairs.tolist()]
    return Column(codes.astype(np.int32), [f"{owner}/{region}" for owner, region in names])


def _links(members: Members, operation: I8) -> U64:
    """For a copy, or a read that AWS may have made for one, the hash of their common host id."""
    links = np.zeros(len(members), np.uint64)
    ids = members.column("id2")
    made_for_copy = members.begins("sourceIPAddress", INTERNAL) & (operation == Operation.read)
    for row in np.flatnonzero((operation == Operation.copy) | made_for_copy).tolist():
        if common := ids.text(row):
            links[row] = text_hash(common)
    return links


def outcome(error: str | None) -> Outcome:
    """Success without an error code; denied for AccessDenied and anything Unauthorized; else error."""
    if not error:
        return Outcome.success
    if "AccessDenied" in error or "Unauthorized" in error or error.startswith("AllAccessDisabled"):
        return Outcome.denied
    return Outcome.error


def _bytes(members: Members) -> I64:
    sizes = members.numbers("bytesTransferredOut")
    return np.where((sizes >= 0) & (sizes < MAX_BYTES), sizes, 0).astype(np.int64)


def hides_bucket(members: Members, operation: I8) -> bool:
    """Whether an object was asked for by a name that is no bucket's: then only the resources show which it was."""
    hidden = _by_text(members.column("bucketName"), lambda name: not (name and bucket_name(name)), np.bool_)
    return bool((hidden & OF_OBJECTS[operation] & (operation != Operation.copy)).any())


def _places(members: Members, operation: I8, asked: Shape) -> tuple[dict[str, Column], Mask]:
    """Where each access went to, in columns, if they are asked for; and which accesses to objects do not show it."""
    if asked.columns.intersection(PLACE_COLUMNS):
        where = places(members, operation)
        return where, unresolved(operation, where["bucket"].codes < 0, where["key"].codes >= 0)
    copies = operation == Operation.copy
    sources = members.column("copy_source")
    nameless = copies & _by_text(sources, lambda text: copy_source(text or "")[0] is None, np.bool_)
    return {}, unresolved(operation, nameless, copies)


def _text(name: str, members: Members, operation: I8) -> Column:
    """A text column that is one member of the record, or little more."""
    if name in _MADE:
        return _MADE[name](members, operation)
    if name not in _MEMBER:
        return Column.null(len(members))
    column = members.column(_MEMBER[name])
    if name == "user_agent":
        return Column(column.codes, list(map(_agent, column.values)))
    if name == "auth":
        return Column(column.codes, [_AUTH.get(text, "none") for text in column.values]).filled("none")
    if name == "source_ip" and "" in column.values:
        return Column.of([text or None for text in column.texts()])
    return column


_MEMBER = {
    "api": "eventName",
    "source_ip": "sourceIPAddress",
    "user_agent": "userAgent",
    "auth": "AuthenticationMethod",
    "request_id": "requestID",
    "region": "awsRegion",
    "vpc_endpoint": "vpcEndpointId",
    "tls": "tlsVersion",
    "sse": "SSEApplied",
    "version_id": "versionId",
    "error_code": "errorCode",
}
"""Text column → the member it is; columns that CloudTrail never fills are null, the others are made elsewhere."""


def _number(name: str, members: Members) -> I64:
    """A column of numbers; an access log's HTTP status is in no CloudTrail record."""
    if name == "signed_at":
        found: I64 = _by_text(members.column("signed_at"), seconds, np.int64)
        return found
    numbers = np.full(len(members), -1, np.int64)
    rows = members.given("signed_for") if name == "signed_for" else []
    if rows:
        values = members.values("signed_for")
        numbers[rows] = [_whole(values[row]) for row in rows]
    return numbers


def _kms_keys(members: Members, operation: I8) -> Column:
    """The key that was named, of S3 the one that it says it used."""
    named = [members.column(name).texts() for name in ("keyId", "used_key", "sse_key")]
    texts = [one or used or asked for one, used, asked in zip(*named, strict=True)]
    for row in np.flatnonzero(operation == Operation.decrypt).tolist():
        texts[row] = texts[row] or _kms_key(members.record(row))
    return Column.of(texts)


def _changes(members: Members, operation: I8) -> Column:
    """What changes of settings do, and writes that set an access control list."""
    rows = sorted({*members.given(*SETTINGS), *np.flatnonzero(operation == Operation.control).tolist()})
    texts = []
    for record in map(members.record, rows):
        given = msgspec.to_builtins(record.requestParameters) if record.requestParameters else {}
        owner = next((one.accountId for one in record.resources or () if one.accountId), record.recipientAccountId)
        texts.append(change(record.eventName, {name: one for name, one in given.items() if one is not None}, owner))
    return Column.null(len(members)).but(rows, texts)


def _of_assume(name: str) -> Callable[[Members, I8], Column]:
    """What only calls that begin a session tell of it."""

    def made(members: Members, operation: I8) -> Column:
        column = members.column(name)
        return Column(np.where(operation == Operation.assume, column.codes, np.int32(-1)), column.values)

    return made


_MADE: dict[str, Callable[[Members, I8], Column]] = {
    "kms_key": _kms_keys,
    "change": _changes,
    "destination_key": destination_keys,
} | {name: _of_assume(name) for name in ("began", "began_arn", "began_key")}
"""Text column → what makes it of several members."""

_AUTH = {"AuthHeader": "header", "QueryString": "query"}


def _agent(text: str) -> str:
    """S3 writes the user agent in brackets."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _kms_key(record: Any) -> str | None:
    return next((one.ARN for one in record.resources or () if one.type == "AWS::KMS::Key"), None)


def _whole(value: str | int | None) -> int:
    """Seconds from a number or from digits; -1 if it is neither, or more than a century."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
    return value if value is not None and 0 <= value < 1 << 32 else -1
