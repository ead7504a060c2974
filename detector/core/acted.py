"""The records of a test inside a rule file, as the engine gets them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from detector.core.access import TEXT_COLUMNS, AccessBatch, Log, Operation, Outcome, Row, text_hash
from detector.core.asked import ABSENT
from detector.core.builder import BatchBuilder
from detector.core.example import ACCOUNT, Event, Example
from detector.core.operation import CLASS, api_of_access_log, classify
from detector.core.principal import Principal, anonymous, role_session, service

API = {
    "read": "GetObject", "copy": "CopyObject", "restore": "RestoreObject", "list": "ListObjects", "head": "HeadObject",
    "write": "PutObject", "delete": "DeleteObject", "decrypt": "Decrypt", "control": "PutBucketPolicy",
    "assume": "AssumeRole", "other": "GetBucketLocation",
}  # fmt: skip
"""Class → the call that stands for it."""


def records(example: Example, columns: frozenset[str]) -> AccessBatch:
    """The records of a test in order of time, with these columns."""
    rows = list(_rows(example))
    builder = BatchBuilder(columns)
    for row in sorted(rows, key=lambda row: row.time):
        builder.add(row)
    return builder.build()


def _rows(example: Example) -> Iterator[Row]:
    number = 0
    for event in example.events:
        first = event.at.on(example.started_at)
        make = _Maker(event)
        for after in event.moments():
            for _ in range(event.count):
                number += 1
                yield make.row(first + after, number)


class _Maker:
    """Makes the records of one event; what is the same in all of them is worked out once."""

    def __init__(self, event: Event) -> None:
        self.log = Log[event.log]
        self.event = event
        self._api, self._class = _operation(event)
        fixed = {name: getattr(event, name, None) for name in TEXT_COLUMNS} | _places(event, self._class, self._api)
        absent = ABSENT[self.log]
        texts = {name: None if name in absent else text for name, text in fixed.items()}
        texts |= {"api": self._api, "log_operation": event.operation if "." in event.operation else None}
        self._counted = {name: text for name, text in texts.items() if text is not None and "{n" in text}
        self._texts = texts
        self._who: dict[tuple[Any, ...], Principal] = {}

    def row(self, second: int, number: int) -> Row:
        event = self.event
        texts: dict[str, Any] = self._texts | {name: numbered(text, number) for name, text in self._counted.items()}
        texts["event_id"] = f"test-{number}"
        return Row(
            self.log,
            second,
            text_hash(f"test-{number}"),
            f"{event.account}/{event.region}",
            operation=self._class,
            outcome=Outcome[event.outcome],
            bytes=event.bytes,
            who=self._principal(second, number, texts["source_ip"]),
            has_arn=True,
            status=-1 if event.status is None else event.status,
            signed_at=-1 if event.signed_before is None else second - event.signed_before,
            signed_for=-1 if event.signed_for is None else event.signed_for,
            **texts,
        )

    def _principal(self, second: int, number: int, address: str | None) -> Principal:
        event = self.event
        issued = None if event.session_age is None else second - event.session_age
        key = (numbered(event.by, number), numbered(event.account, number), issued, address)
        if key not in self._who:
            who = principal(key[0], key[1], address)
            given = {"source_identity": event.source_identity, "mfa": event.mfa, "issued_to": event.issued_to}
            stated: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
            if event.access_key is not None:
                stated["access_key"] = event.access_key
            self._who[key] = who._replace(issued_at=issued, **stated)
        return self._who[key]


def numbered(text: str, number: int) -> str:
    """A text with `{n}` and `{n:40}` in it made that of one record."""
    return (
        re.sub(r"\{n(?::(\d{1,9}))?\}", lambda found: str(number % int(found[1]) if found[1] else number), text)
        if "{n" in text
        else text
    )


def _operation(event: Event) -> tuple[str, Operation]:
    name = API.get(event.operation, event.operation)
    return api_of_access_log(name, event.key is not None) if "." in name else (name, classify(name))


_BUCKETLESS = frozenset({Operation.assume})
_TRAIL = re.compile("Trail|Logging$|EventSelectors|InsightSelectors|EventDataStore|EventConfiguration")


def _places(event: Event, class_: Operation, api: str) -> dict[str, str | None]:
    """Bucket and key, where the event does not state them: as such a call has them."""
    bucketless = class_ in _BUCKETLESS or api in ("ListBuckets", "ListAllMyBuckets") or _of_trail(api)
    keyless = bucketless or class_ in (Operation.list, Operation.other) or ("Object" not in api and "Part" not in api)
    keyless &= class_ != Operation.decrypt
    out: dict[str, str | None] = {}
    if bucketless and "bucket" not in event.model_fields_set:
        out["bucket"] = None
    if keyless and "key" not in event.model_fields_set:
        out["key"] = None
    return out


def _of_trail(api: str) -> bool:
    return CLASS.get(api) == Operation.control and "Bucket" not in api and _TRAIL.search(api) is not None


def principal(by: str, account: str = ACCOUNT, address: str | None = None) -> Principal:
    """Who: `role/session`, `user/name`, `service:name`, `app:name`, `anonymous`, `root`; else a session of role `app`.

    A role may have a path: what stands before the last slash is the role.
    """
    if by == "anonymous":
        return anonymous(address)
    if by.startswith("app:"):  # whom the application's own log names
        return Principal("Application", by, by, by, by, "application")
    if by.startswith("service:"):
        return service(by.removeprefix("service:"), account)
    if by == "root":
        return _user("Root", f"arn:aws:iam::{account}:root", account)
    if by.startswith("user/"):
        return _user("IAMUser", f"arn:aws:iam::{account}:{by}", account)
    role, _, name = by.rpartition("/") if "/" in by else ("app", "", by)
    issuer = f"arn:aws:iam::{account}:role/{role}"
    arn = f"arn:aws:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{name}"
    unique = f"AROA{text_hash(issuer):016X}"
    parts = role_session(f"{unique}:{name}", arn, unique, issuer, account)
    return Principal("AssumedRole", *parts[:4], account, parts[4], f"{unique}:{name}", f"ASIA{text_hash(arn):016X}")


def _user(kind: str, arn: str, account: str) -> Principal:
    key = f"AKIA{text_hash(arn):016X}" if kind == "IAMUser" else None
    return Principal(kind, arn, arn, arn, arn, account, None, f"AIDA{text_hash(arn):016X}", key)
