"""The rule file's models: what a rule says, checked. Pure: text in, rules or problems out.

A rule file is YAML with one list, `rules`. Reading it never stops at the first mistake: every problem of every file is
collected with file, line and column (`RuleFileError`). Models are frozen; a rule is configuration, never state.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from detector.core.access import Operation

OPERATIONS = tuple(op.name for op in Operation)
DISTINCT_CAP = 100_000
"""Distinct measures are exact up to this many members a group and window."""

DISTINCT_MEASURES = frozenset({"objects", "prefixes", "source_ips", "source_nets", "buckets", "sessions", "roles"})
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
NOT_COUNTED = {"title", "description", "runbook", "severity", "stage", "respond", "accept_withdrawable", "exceptions"}
"""Fields of a rule that change nothing about what it counts."""
MINUTE_BUCKETS_OVER = 3600
"""Windows longer than this many seconds count in buckets of one minute."""

Level = Literal[
    "session", "role", "account", "access_key", "session_name", "person", "peer_group", "source_ip", "source_net",
    "vpc_endpoint", "bucket",
]  # fmt: skip
Measure = Literal[
    "requests", "objects", "bytes", "prefixes", "source_ips", "source_nets", "buckets", "sessions", "roles"
]
Severity = Literal["info", "low", "medium", "high", "critical"]


def seconds(value: object) -> int:
    """A duration such as `5m` in seconds."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*([smhd])\s*", value) if isinstance(value, str) else None
    if match is None:
        msg = f"expected a duration such as 5m, got {value!r}"
        raise ValueError(msg)
    return int(match[1]) * UNITS[match[2]]


def size(value: object) -> int:
    """An amount of memory such as `256M` in bytes."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*([KMG])\s*", value) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        msg = f"expected a size such as 256M, got {value!r}"
        raise ValueError(msg)
    return int(match[1]) * SIZES[match[2]]


def _digest(meaning: object) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


def _texts(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"expected a number, got {value!r}"
        raise ValueError(msg)
    return value


Duration = Annotated[
    int, BeforeValidator(seconds), WithJsonSchema({"type": "string", "pattern": r"^\s*\d{1,9}\s*[smhd]\s*$"})
]
Size = Annotated[int, BeforeValidator(size), WithJsonSchema({"type": "string", "pattern": r"^\s*\d{1,9}\s*[KMG]\s*$"})]
Number = Annotated[int | float, BeforeValidator(_number)]
Texts = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], BeforeValidator(_texts), Field(min_length=1)
]


Peers = tuple[tuple[str, tuple[str, ...]], ...]
"""Declared peer groups in order: name, globs of the roles in it."""


class Levels(tuple[Level, ...]):  # noqa: SLOT001  a tuple with slots cannot hold more than its items
    """The levels of a rule, and the peer groups it declares: `peer_group` is another level in another rule."""

    peers: Peers

    def __new__(cls, levels: Iterable[Level], peers: Peers = ()) -> Self:
        made = super().__new__(cls, levels)
        made.peers = peers
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and super().__eq__(other) and self.peers == getattr(other, "peers", ())

    def __hash__(self) -> int:
        return hash((tuple(self), self.peers)) if self.peers else super().__hash__()


class Model(BaseModel):
    """Base of all models of files that people write: unknown fields are mistakes, values are not guessed at."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Where(Model):
    """Which records count. All given fields must hold; a list means "any of"; globs where text is compared.

    In `key`, `*` stays within one `/` segment and `**` crosses; in every other field `*` matches anything.
    """

    operation: Texts | None = None
    outcome: Annotated[tuple[Literal["success", "denied", "error", "any"], ...], BeforeValidator(_texts)] = ("success",)
    bucket: Texts | None = None
    key: Texts | None = None
    session: Texts | None = None
    role: Texts | None = None
    account: Texts | None = None
    session_name: Texts | None = None
    principal_type: Texts | None = None
    source_ip: Texts | None = None
    user_agent: Texts | None = None
    region: Texts | None = None
    vpc_endpoint: Texts | None = None
    access_point: Texts | None = None
    destination: Texts | None = None
    auth: Texts | None = None
    tls: Texts | None = None
    log: (
        Annotated[tuple[Literal["cloudtrail", "server_access", "access_audit"], ...], BeforeValidator(_texts)] | None
    ) = None

    @field_validator("operation")
    @classmethod
    def _known_operation(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name.islower() and name not in OPERATIONS:
                msg = f"expected a class ({', '.join(OPERATIONS)}) or an API name such as GetObject, got '{name}'"
                raise ValueError(msg)
        return value


class Exemption(Model):
    """An exception to a rule: raises its limit for some identities until a date, with owner and reason."""

    session: Texts | None = None
    role: Texts | None = None
    account: Texts | None = None
    session_name: Texts | None = None
    allow_up_to: Annotated[Number, Field(gt=0, allow_inf_nan=False)]
    until: date
    owner: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _names_somebody(self) -> Exemption:
        if not any((self.session, self.role, self.account, self.session_name)):
            msg = "expected session, role, account or session_name: whom the exception is for"
            raise ValueError(msg)
        return self

    @property
    def ends_at(self) -> int:
        """Epoch seconds from which the exception no longer holds: the end of the day `until`, UTC."""
        return int(datetime(self.until.year, self.until.month, self.until.day, tzinfo=UTC).timestamp()) + UNITS["d"]


class _Rule(Model):
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    severity: Severity
    where: Where = Where()
    respond: Annotated[tuple[Literal["alert", "revoke"], ...], BeforeValidator(_texts)] = ("alert",)
    accept_withdrawable: bool = False
    stage: Literal["live", "staged"] = "live"
    description: str = ""
    runbook: str = ""

    @property
    def pages(self) -> bool:
        """Whether findings are sent to people: staged rules and low severities are journalled only."""
        return self.stage == "live" and self.severity not in ("info", "low")

    def digest(self) -> str:
        """Identity of what the rule counts: a rule whose digest is unchanged keeps its windows over a restart."""
        return _digest(self.model_dump(mode="json", exclude=NOT_COUNTED))


def contradictions(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What of a threshold rule's fields is right by itself and wrong together: (field, what is wrong)."""
    measure, threshold, levels = fields.get("measure"), fields.get("threshold"), fields.get("group_by")
    if measure in DISTINCT_MEASURES and isinstance(threshold, int | float) and threshold > DISTINCT_CAP:
        most = f"at most {DISTINCT_CAP} for the distinct measure '{measure}'"
        yield "threshold", f"threshold: expected {most}, got {threshold}"
    if isinstance(levels, tuple) and len({str(level) for level in levels}) != len(levels):
        yield "group_by", f"group_by: expected each level once, got {', '.join(map(str, levels))}"
    by = (levels,) if isinstance(levels, str) else levels or ("session",)
    if fields.get("peer_groups") and isinstance(by, tuple) and "peer_group" not in by:
        yield "peer_groups", f"peer_groups: expected peer_group in group_by, got {', '.join(map(str, by))}"


class Threshold(_Rule):
    """Fires when a group's measure over a sliding window is at or above the threshold."""

    kind: Literal["threshold"]
    peer_groups: dict[str, Texts] = {}
    group_by: Annotated[tuple[Level, ...], BeforeValidator(_texts), Field(min_length=1)] = ("session",)
    measure: Measure
    window: Duration
    threshold: Annotated[Number, Field(gt=0, allow_inf_nan=False)]
    exceptions: tuple[Exemption, ...] = ()

    @field_validator("peer_groups")
    @classmethod
    def _named(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in value:
            if not 1 <= len(name) <= 200:
                msg = f"expected names of 1 to 200 characters, got {name[:20]!r}"
                raise ValueError(msg)
        return value

    @field_validator("group_by")
    @classmethod
    def _with_peers(cls, value: tuple[Level, ...], info: ValidationInfo) -> Levels:
        return Levels(value, tuple((info.data.get("peer_groups") or {}).items()))

    @field_serializer("peer_groups", when_used="json")
    def _in_order(self, value: dict[str, tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
        """The first group that fits counts, so their order is part of what the rule says."""
        return list(value.items())

    @field_validator("window")
    @classmethod
    def _sensible_window(cls, value: int) -> int:
        if not 10 <= value <= 30 * UNITS["d"]:
            msg = f"expected 10s to 30d, got {value}s"
            raise ValueError(msg)
        if value > MINUTE_BUCKETS_OVER and value % 60:
            msg = f"expected whole minutes over one hour, got {value}s"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _can_fire(self) -> Threshold:
        for _, told in contradictions(self.model_dump()):
            raise ValueError(told)
        return self

    def exceptions_digest(self) -> str:
        """Identity of the exceptions: where they changed, what has been counted is held against them anew."""
        return _digest([exemption.model_dump(mode="json") for exemption in self.exceptions])

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it: its own window, and those of the records within."""
        return 2 * self.window

    @property
    def granularity(self) -> int:
        """Seconds a bucket of time counts in: one second, or one minute for windows over an hour."""
        return 60 if self.window > MINUTE_BUCKETS_OVER else 1


class BaselineRule(_Rule):
    """Fires when a role's sealed pane is far from what the role and its peers usually do (the online model).

    `threshold` is in decades: 3 means that one role-day in 1,000 looks like this.
    """

    kind: Literal["baseline"]
    group_by: Annotated[tuple[Literal["role"], ...], BeforeValidator(_texts)] = ("role",)
    measure: Literal["requests", "objects", "bytes"] = "objects"
    threshold: Annotated[Number, Field(gt=0, le=12)] = 3.0
    cooldown: Duration = 3600
    learn_role_days: Annotated[int, Field(ge=1)] = 20

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it: a day, and the cooldown."""
        return 2 * max(UNITS["d"], self.cooldown)

    @model_validator(mode="after")
    def _no_revocation(self) -> BaselineRule:
        if "revoke" in self.respond and not self.accept_withdrawable:
            msg = (
                "respond: expected alert only: a baseline finding may be withdrawn, so it must not revoke"
                " (unless the rule says `accept_withdrawable: true`)"
            )
            raise ValueError(msg)
        return self


Rule = Annotated[Threshold | BaselineRule, Field(discriminator="kind")]
