"""Tests inside rule files: what happens, in short form, and what the rule should find in it. Pure.

Rules of this file
- A test states only what matters to it. All else has a plain value: a successful GetObject of an object of its own in
  `ml-voice`, by a session of the role `app`, at the test's start.
- An event says every column that a rule can ask for by the name it has in `where`. What a kind of log never tells
  cannot be said of its records.
- `{n}` in a text is the number of the record in the test, from 1; `{n:40}` is that number, going round from 0 to 39.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from detector.core.access import MAX_BYTES, Log, Operation
from detector.core.fields import UNITS, Model
from detector.core.times import epoch

ACCOUNT = "111122223333"
START = "2026-05-01T09:00:00Z"
MOST = 1_000_000
"""Records of a test, at most."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a test. second: epoch seconds, or seconds from the test's start."""

    second: int
    absolute: bool = False

    def on(self, start: int) -> int:
        """Epoch seconds, in a test that starts then."""
        return self.second if self.absolute else start + self.second


def span(value: object) -> int:
    """A length of time such as `90s`, `5m` or `1h30m` in seconds; `0s` is one too."""
    text = value.replace(" ", "") if isinstance(value, str) else ""
    if not re.fullmatch(r"(?:\d{1,9}[smhd]){1,4}", text):
        msg = f"expected a time such as 19s or 1h30m, got {value!r}"
        raise ValueError(msg)
    return sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)([smhd])", text))


def _moment(value: object) -> Moment:
    if isinstance(value, Moment):
        return value
    if isinstance(value, date):
        aware = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        value = (aware if aware.tzinfo else aware.replace(tzinfo=UTC)).isoformat()
    if (second := epoch(value)) is not None:
        return Moment(second, absolute=True)
    return Moment(span(value))


_WRITTEN = WithJsonSchema({"type": "string"})
Span = Annotated[int, BeforeValidator(span), _WRITTEN]
When = Annotated[Any, BeforeValidator(_moment), _WRITTEN]
Text = Annotated[str, Field(max_length=2048)]


class Event(Model):
    """Records in short form: one, or `count` of them at each moment from `at` on, `every` so often, `for` so long."""

    by: Text = "app/worker"
    """who: `role/session` (the role may have a path), `user/name`, `root`, `anonymous`, `service:name`, `app:name`
    (whom the application's log names); a name without a slash is a session of the role `app`"""
    at: When = Field("0s", validate_default=True)
    """when"""
    count: Annotated[int, Field(ge=1, le=MOST)] = 1
    """so many records at once"""
    every: Span | None = None
    """again and again, so often; with `for`"""
    lasting: Annotated[Span | None, Field(alias="for")] = None
    """so long: `every: 1s, for: 25s` is 25 times"""
    log: Literal["cloudtrail", "server_access", "access_audit"] = "cloudtrail"
    """`cloudtrail`, `server_access` or `access_audit`; what a log never tells cannot be said of its records"""
    operation: Text = "GetObject"
    """a class, an API name, or an access log's name"""
    outcome: Literal["success", "denied", "error"] = "success"
    """`success`, `denied`, `error`"""
    bucket: Text | None = "ml-voice"
    """of what; `null` for none. Calls that name no key or bucket (`list`, `assume`, settings of a bucket, trails)
    have none"""
    bucket_account: Text | None = ACCOUNT
    """the account that owns the bucket"""
    key: Text | None = "raw/{n}.wav"
    """of what; `null` for none. Calls that name no key or bucket (`list`, `assume`, settings of a bucket, trails)
    have none"""
    bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)] = 4096
    """bytes sent, a record"""
    destination: Text | None = None
    """the bucket a copy goes to"""
    destination_account: Text | None = None
    """the account that owns the bucket a copy goes to"""
    change: Text | None = None
    """as in `where`"""
    error_code: Text | None = None
    """as in `where`"""
    source_ip: Text | None = "198.51.100.7"
    """as in `where`"""
    user_agent: Text | None = "aws-cli/2.15"
    """as in `where`"""
    auth: Text | None = "header"
    """as in `where`"""
    region: Text | None = "us-east-1"
    """as in `where`"""
    access_point: Text | None = None
    """as in a record"""
    vpc_endpoint: Text | None = None
    """as in a record"""
    tls: Text | None = "TLSv1.3"
    """as in `where`"""
    sse: Text | None = None
    """as in a record"""
    kms_key: Text | None = None
    """as in a record"""
    version_id: Text | None = None
    """as in a record"""
    purpose: Text | None = None
    """as in a record"""
    sample_id: Text | None = None
    """as in a record"""
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    """as in a record"""
    signed_for: Span | None = None
    """of a pre-signed URL: for how long it was signed"""
    signed_before: Span | None = None
    """of a pre-signed URL: how long before the read it was signed"""
    account: Text = ACCOUNT
    """the account of who asks"""
    access_key: Text | None = None
    """more about who asks"""
    source_identity: Text | None = None
    """more about who asks"""
    mfa: bool | None = None
    """more about who asks"""
    session_age: Span | None = None
    """how long ago its credentials were issued"""
    issued_to: Text | None = None
    """more about who asks"""

    @field_validator("operation")
    @classmethod
    def _known_operation(cls, value: str) -> str:
        if value.islower() and value not in Operation.__members__:
            msg = (
                f"expected a class ({', '.join(Operation.__members__)}) or an API name such as GetObject, got '{value}'"
            )
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.every is None) != (self.lasting is None):
            raise ValueError("every: expected 'every' and 'for' together: how often, and for how long")
        if self.every == 0:
            raise ValueError("every: expected at least 1s, got 0s")
        from detector.core.asked import ABSENT  # it knows rules, and rules know their tests

        for name in sorted(self.model_fields_set & ABSENT[Log[self.log]]):
            raise ValueError(f"{name}: a record of {self.log} never has it")
        return self

    def moments(self) -> range:
        """Seconds after `at` at which something happens."""
        return range(0, max(1, self.lasting or 1), self.every or 1)

    def __len__(self) -> int:
        return len(self.moments()) * self.count


class Expected(Model):
    """A finding that a test expects: when it opens, and what else is said of it."""

    opened: When
    """when it opens"""
    last: When | None = None
    """its last crossing second"""
    peak: Annotated[int, Field(ge=0)] | None = None
    """its largest value"""
    group: Text | None = None
    """a name of its group, or the end of one after a `/`, `:` or `@`; globs allowed"""


class Example(Model):
    """One test of a rule: what happens, and what the rule finds in it."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """one line for people"""
    start: When = Field(START, validate_default=True)
    """when it begins"""
    events: Annotated[tuple[Event, ...], Field(min_length=1, max_length=1000)]
    """a list of what happens"""
    findings: Annotated[tuple[Expected, ...], Field(max_length=1000)]
    """a list of all that is found, `[]` for nothing"""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (records := sum(map(len, self.events))) > MOST:
            raise ValueError(f"events: expected at most {MOST:,} records in a test, got {records:,}")
        return self

    @property
    def started_at(self) -> int:
        """Epoch seconds."""
        return int(self.start.second)
