"""One line of an S3 server access log → a row, exactly and unspoofably. Pure.

    owner bucket [time] address requester request-id operation key "request" status error bytes size total turn-around
    "referer" "user agent" version host-id signature cipher auth host tls access-point acl-required region …

Rules of this file
- A line becomes a row, or the reason why there is none, whatever its bytes.
- Key, request, referer and user agent are the requester's text, and S3 escapes no quote in them. So every field up to
  turn-around is read from the left and every field after the user agent from the right, and nothing is searched for in
  between. What lies left cannot be reached: a key is percent-encoded and a request target holds no space (RFC 9112),
  so the first space after the target ends it, however many quotes it has.
- Should a target hold spaces after all, several places may look like its end. Then the reading that blames the
  requester most is taken (success before denied before error, then most bytes): it can hide nothing. Such a requester
  can make a denied request of its own look served, never somebody else's.
- A line may be short (18 fields), long (28 and more) or run into the next record where a line break was lost: its left
  fields stand. The fields from the right are then absent, ignored, or those of the record that ran into it.

Source: S3 user guide, "Amazon S3 server access log format". What real logs do beyond it is noted where it is handled.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from detector.core.access import MAX_BYTES, Log, Outcome, Row, text_hash
from detector.core.operation import api_of_access_log
from detector.core.principal import UNKNOWN, Principal, account_of_arn, anonymous, role_of_assumed_arn, service

# Possessive quantifiers: a hostile line costs one pass. "[^ ]", for "\S" would also stop at exotic spaces in a URI.
# Some lines have two spaces before the requester.
_HEAD = r"([^ ]++) ([^ ]++) \[([^\]]{0,64}+)\] ([^ ]++) {1,2}+([^ ]++) ([^ ]++) ([^ ]++) ([^ ]++) "
METHOD, VERSION = r"[A-Za-z_-]{1,32}+", r"HTTP/[0-9.]{1,8}+"
_REQUEST = rf'(?:"{METHOD} ([^ ]++) {VERSION}"|"-"|-)'
RESULT = r"([0-9]{3}|-) ([\w.:-]{1,99}+)"
_WHOLE = r"(?:[0-9]{1,18}+|-)"  # 18 digits always fit an int64
_FIGURES = rf" {RESULT} ({_WHOLE}) {_WHOLE} {_WHOLE} {_WHOLE}"

_LINE = re.compile(rf"{_HEAD}{_REQUEST}{_FIGURES}(?: (.*))?", re.ASCII | re.DOTALL)
_LEFT_OF_REQUEST = re.compile(_HEAD, re.ASCII)
_END_OF_REQUEST = re.compile(rf'"{_FIGURES}(?= |\Z)', re.ASCII)
_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)([0-5]\d)", re.ASCII)
_CANONICAL_ID = re.compile(r"[0-9a-f]{64}")
SHORTEST_HOST_ID = 38  # no version id, cipher or region is as long
_HOST_ID = re.compile(rf"[A-Za-z0-9+/]{{{SHORTEST_HOST_ID},}}+={{0,2}}")
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+){1,3}-\d{1,2}", re.ASCII)
_SIGNED_AT = re.compile(r"[?&]X-Amz-Date=(\d{8}T\d{6}Z)", re.ASCII)
_SIGNED_FOR = re.compile(r"[?&]X-Amz-Expires=(\d{1,9})(?!\d)", re.ASCII)
_SIGNATURE = re.compile(r"[?&](?:X-Amz-)?Signature=")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # whatever the locale
_AUTH = {"AuthHeader": "header", "QueryString": "query"}
_ENCODED_ONCE = frozenset({"BATCH.DELETE.OBJECT", "S3.EXPIRE.OBJECT"})
_KINDS = {"user": "IAMUser", "root": "Root", "federated-user": "FederatedUser", "assumed-role": "AssumedRole"}
"""First word of an ARN's resource → CloudTrail's type of identity."""


class _Left(NamedTuple):
    """What is read from the left, as written; `rest` begins with the referer. uri: None if there was no request."""

    owner: str
    bucket: str
    time: str
    address: str
    requester: str
    request_id: str
    operation: str
    key: str
    uri: str | None
    status: str
    error: str
    bytes: str
    rest: str | None


class Right(NamedTuple):
    """What is read from the right. auth: header, query, none, or None where the line is too short to say."""

    user_agent: str | None = None
    version_id: str | None = None
    auth: str | None = None
    tls: str | None = None
    access_point: str | None = None
    region: str | None = None


def row_of(line: str) -> Row | str:
    """The line's row, or why there is none.

    Reasons: `not_an_access_log_line`, `incomplete_line` (it ends before turn-around), `bad_time`.
    """
    match = _LINE.fullmatch(line)
    left = _Left._make(match.groups()) if match else _left_with_spaces(line)
    if isinstance(left, str):
        return left
    time = epoch_seconds(left.time)
    if time is None:
        return "bad_time"
    right = right_of(left.rest or "")
    address, key = text(left.address), key_of(left.operation, left.key)
    auth = auth_of(right, left.uri)
    signed_at, signed_for = signed(left.uri, auth)
    api, operation = api_of_access_log(left.operation, key is not None)
    event_id = f"{text_hash(dedup_text(left.request_id, left.operation, left.bucket, left.key)):016x}"
    return Row(
        Log.server_access,
        time,
        text_hash(event_id),
        f"{left.owner}/",
        operation=operation,
        outcome=outcome(left.status, left.error),
        bytes=size(left.bytes),
        who=principal(left.requester, address if left.requester == "-" else None),
        has_arn=left.requester.startswith("arn:"),
        api=api,
        bucket=text(left.bucket),
        key=key,
        source_ip=address,
        user_agent=right.user_agent,
        auth=auth,
        event_id=event_id,
        request_id=text(left.request_id),
        region=right.region,
        access_point=right.access_point,
        tls=right.tls,
        version_id=right.version_id,
        log_operation=left.operation,
        error_code=text(left.error),
        status=-1 if left.status == "-" else int(left.status),
        signed_at=signed_at,
        signed_for=signed_for,
    )


def _left_with_spaces(line: str) -> _Left | str:
    """The left fields of a line whose request is no clean request line (see the rules above), or why there are none."""
    head = _LEFT_OF_REQUEST.match(line)
    if head is None:
        return "not_an_access_log_line"
    request = head.end() + 1
    ends = list(_END_OF_REQUEST.finditer(line, request)) if line.startswith('"', head.end()) else []
    if not ends:
        return "incomplete_line"
    end = max(ends, key=lambda e: (-outcome(e[1], e[2]), 0 if e[3] == "-" else int(e[3])))
    return _Left._make((*head.groups(), line[request : end.start()], *end.groups(), line[end.end() + 1 :]))


def right_of(rest: str) -> Right:
    """The fields after turn-around. The last quote of a line closes the user agent: nothing quoted comes after it."""
    quoted, quote, tail = rest.rpartition('"')
    fields = tail.split(" ")[1:] if quote else rest.split(" ")
    agent = None
    if not quote:  # referer and user agent are both a bare "-"
        fields = fields[2:]
    elif quoted.count('"') == 1 and quoted.startswith('"'):  # the referer alone is quoted
        fields = fields[1:]
    else:
        agent = quoted[3:] if quoted.startswith("- ") else quoted.partition('" "')[2]
    if len(fields) > 2 and len(fields[1]) < SHORTEST_HOST_ID and _HOST_ID.fullmatch(fields[2]):
        del fields[1]  # some lines have one more token before the host id
    auth = _AUTH.get(fields[4], "none") if len(fields) > 4 else None
    fields += ["-"] * (10 - len(fields))
    region = fields[9] if fields[9] != "-" and _REGION.fullmatch(fields[9]) else None
    return Right(text(agent), text(fields[0]), auth, text(fields[6]), text(fields[7]), region)


def dedup_text(request_id: str, operation: str, bucket: str, key: str) -> str:
    """What the contract's dedup id of a line is the hash of: fields as the log spells them."""
    return f"{request_id}\0{operation}\0{bucket}\0{key}"


def text(field: str | None) -> str | None:
    """A field, or None where the log has its sign for nothing."""
    return None if field in {"-", ""} else field


def key_of(operation: str, field: str) -> str | None:
    """The object's key. S3 percent-encodes it twice, in two operations once. What is no UTF-8 is replaced."""
    if "%" not in field:
        return text(field)
    once = unquote(field)
    return once if operation in _ENCODED_ONCE else unquote(once)


def auth_of(right: Right, uri: str | None) -> str:
    """header, query or none; where the line is too short to say, by the request."""
    return right.auth or ("query" if uri and _SIGNATURE.search(uri) else "none")


@lru_cache(maxsize=1024)
def outcome(status: str, error: str) -> Outcome:
    """By HTTP status; a line without one (the source of a copy, lifecycle) by its error code."""
    if status == "-":
        denied = error == "AccessDenied" or "Unauthorized" in error
        return Outcome.success if error == "-" else Outcome.denied if denied else Outcome.error
    if status.startswith("2"):
        return Outcome.success
    return Outcome.denied if status in {"401", "403"} else Outcome.error


def signed(uri: str | None, auth: str) -> tuple[int, int]:
    """When a pre-signed URL was signed (epoch seconds) and for how many seconds; -1 where it does not say."""
    if uri is None or auth != "query":
        return -1, -1
    at, for_ = _SIGNED_AT.search(uri), _SIGNED_FOR.search(uri)
    try:
        signed_at = int(datetime.fromisoformat(at[1]).timestamp()) if at else -1
    except ValueError:
        signed_at = -1
    return signed_at, int(for_[1]) if for_ else -1


@lru_cache(maxsize=1 << 14)
def epoch_seconds(field: str) -> int | None:
    """`06/Feb/2019:00:00:38 +0000` as epoch seconds, with its offset taken off; None if it is no time."""
    match = _TIME.fullmatch(field)
    if match is None or match[2] not in _MONTHS:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    try:
        local = datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    offset = int(hours) * 3600 + int(minutes) * 60
    at = int(local.timestamp()) + (offset if sign == "-" else -offset)
    return at if 0 <= at < 1 << 33 else None


@lru_cache(maxsize=1 << 14)
def principal(requester: str, address: str | None) -> Principal:
    """Who a requester is: an ARN, a service, nobody (`-`), or a canonical user id (an account, or its root)."""
    if requester == "-":
        return anonymous(address)
    if requester.startswith("svc:"):
        return service(requester.removeprefix("svc:"), None)
    if requester.startswith("arn:"):
        return _principal_of_arn(requester)
    kind = "Canonical" if _CANONICAL_ID.fullmatch(requester) else UNKNOWN
    return Principal(kind, requester, requester, requester, requester, requester)


def _principal_of_arn(arn: str) -> Principal:
    account = account_of_arn(arn)
    kind = _KINDS.get(arn.split(":", 5)[-1].partition("/")[0], UNKNOWN) if account else UNKNOWN
    role = role_of_assumed_arn(arn)
    session_name = arn.removeprefix(f"{role}/") if role != arn else None
    return Principal(kind, arn, arn, role, role, account or arn, session_name)


def size(field: str) -> int:
    """Bytes sent: `-` is none, and so is more than any object has."""
    sent = 0 if field == "-" else int(field)
    return sent if sent < MAX_BYTES else 0
