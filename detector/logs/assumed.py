"""Who assumed which role with whose credentials: chains of sessions, from AssumeRole events. Pure.

Source: AWS CloudTrail user guide, "CloudTrail userIdentity element"; IAM user guide, "Logging IAM and AWS STS API calls
with AWS CloudTrail" (responseElements of AssumeRole).
"""
# ruff: noqa: N815  fields are spelled as CloudTrail spells them

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from detector.core.access import Operation
from detector.core.operation import CLASS
from detector.core.times import epoch
from detector.logs.inflate import inflate
from detector.logs.limits import LIMITS

ASSUMING = frozenset(name for name, kind in CLASS.items() if kind == Operation.assume)
LONGEST_CHAIN = 1000
"""Sessions of a chain, at most."""


class Assumed(NamedTuple):
    """One session that was begun. caller: principal id, access key of who began it. time: epoch seconds."""

    time: int
    caller: tuple[str, str]
    user_id: str
    arn: str
    role: str
    access_key: str


class _Who(msgspec.Struct):
    principalId: str | None = None
    accessKeyId: str | None = None


class _User(msgspec.Struct):
    assumedRoleId: str | None = None
    arn: str | None = None


class _Asked(msgspec.Struct):
    roleArn: str | None = None


class _Answer(msgspec.Struct):
    assumedRoleUser: _User | None = None
    credentials: _Who | None = None


class _Event(msgspec.Struct):
    eventName: str | None = None
    eventTime: str | None = None
    errorCode: str | None = None
    userIdentity: _Who | None = None
    requestParameters: msgspec.Raw = msgspec.Raw(b"null")
    responseElements: msgspec.Raw = msgspec.Raw(b"null")


class _File(msgspec.Struct):
    Records: list[_Event]


_FILE = msgspec.json.Decoder(_File)
_ASKED = msgspec.json.Decoder(_Asked | None)
_ANSWER = msgspec.json.Decoder(_Answer | None)


def assumed(data: bytes) -> list[Assumed] | None:
    """The sessions begun in a CloudTrail file as delivered (gzipped or not); None if it is no such file."""
    content, _ = inflate(data, LIMITS.inflated)
    if b"AssumeRole" not in content:
        return []
    try:
        events = _FILE.decode(content).Records
        return [one for event in events if event.eventName in ASSUMING for one in _of(event)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _of(event: _Event) -> Iterator[Assumed]:
    asked, answer = _ASKED.decode(event.requestParameters), _ANSWER.decode(event.responseElements)
    user, at = answer.assumedRoleUser if answer else None, epoch(event.eventTime)
    if event.errorCode or user is None or at is None or not (user.assumedRoleId and user.arn):
        return
    who = event.userIdentity or _Who()
    key = answer.credentials.accessKeyId if answer and answer.credentials else None
    role = asked.roleArn if asked else None
    caller = (who.principalId or "", who.accessKeyId or "")
    yield Assumed(at, caller, user.assumedRoleId, user.arn, role or "", key or "")


def chained(user_id: str, keys: Iterable[str], events: Iterable[Assumed]) -> list[Assumed]:
    """Sessions begun by this one, by those, and so on; each once, by time."""
    known = list(events)
    ids, held = {user_id} - {""}, set(keys) - {""}
    found: dict[str, Assumed] = {}
    while len(found) < LONGEST_CHAIN:
        new = [e for e in known if e.user_id not in found and (e.caller[0] in ids or e.caller[1] in held)]
        new = [event for event in new if event.user_id != user_id]
        if not new:
            break
        for event in new:
            found.setdefault(event.user_id, event)
            ids.add(event.user_id)
            held.add(event.access_key)
        held.discard("")
    return sorted(found.values())


def as_principal(event: Assumed) -> dict[str, Any]:
    """A chained session as a finding's `principal`."""
    return {
        "type": "AssumedRole",
        "session": event.arn,
        "role": event.role,
        "account": event.arn.split(":")[4] if event.arn.count(":") >= 5 else "",
        "session_name": event.user_id.partition(":")[2],
        "principal_id": event.user_id,
        "access_key_ids": [event.access_key] if event.access_key else [],
    }
