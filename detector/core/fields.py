"""Types of the fields in files that people write: durations, sizes, numbers, lists of texts, levels. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

DISTINCT_MEASURES = frozenset({"objects", "prefixes", "source_ips", "source_nets", "buckets", "sessions", "roles"})
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
Level = Literal[
    "session", "role", "account", "access_key", "session_name", "person", "peer_group", "source_ip", "source_net",
    "vpc_endpoint", "bucket",
]  # fmt: skip
Measure = Literal[
    "requests", "objects", "bytes", "prefixes", "source_ips", "source_nets", "buckets", "sessions", "roles"
]
Change = Literal[
    "public_policy", "foreign_policy", "policy_removed", "public_acl", "foreign_acl", "public_access_allowed",
    "acls_enabled", "encryption_weakened", "versioning_suspended", "mfa_delete_off", "lifecycle_deletes",
    "lifecycle_removed", "logging_off", "replication", "replication_foreign", "lock_weakened", "trail_stopped",
    "trail_narrowed", "data_events_off", "reads_not_logged", "open_access_point", "foreign_access_point",
]  # fmt: skip
"""What a change of settings does: `detector.logs.changes` finds it in a record."""
Severity = Literal["info", "low", "medium", "high", "critical"]


def seconds(value: object) -> int:
    """A duration such as `5m` in seconds."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*([smhd])\s*", value) if isinstance(value, str) else None
    if match is None:
        meant = re.match(r"\s*(\d{1,9})\s*([smhd])", value, re.IGNORECASE) if isinstance(value, str) else None
        hint = f"; did you mean '{meant[1]}{meant[2].lower()}'?" if meant else ""
        msg = f"expected a duration such as 5m, got {value!r}{hint}"
        raise ValueError(msg)
    return int(match[1]) * UNITS[match[2]]


def size(value: object) -> int:
    """An amount of memory such as `256M` in bytes."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*([KMG])\s*", value) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        msg = f"expected a size such as 256M, got {value!r}"
        raise ValueError(msg)
    return int(match[1]) * SIZES[match[2]]


def texts(value: object) -> object:
    """One text is a list of one."""
    return (value,) if isinstance(value, str) else value


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        digits = re.sub(r"[\s,_]", "", value) if isinstance(value, str) else ""
        hint = f"; write {digits}" if digits.isascii() and digits.isdigit() else ""
        msg = f"expected a number, got {value!r}{hint}"
        raise ValueError(msg)
    return value


_WRITTEN = r"^(?:\s*\d{1,9}\s*[smhd]\s*|\$[a-z][a-z0-9_]*)$"
"""How a duration is written, or a site's name for one."""
Duration = Annotated[int, BeforeValidator(seconds), WithJsonSchema({"type": "string", "pattern": _WRITTEN})]
Size = Annotated[int, BeforeValidator(size), WithJsonSchema({"type": "string", "pattern": r"^\s*\d{1,9}\s*[KMG]\s*$"})]
Number = Annotated[int | float, BeforeValidator(_number)]
Texts = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], BeforeValidator(texts), Field(min_length=1)
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
    """Base of all models of files that people write: unknown fields are mistakes, values are not guessed at.

    A model is made ready for reading when the first of its kind is read, and what its fields are told to be
    (`schema.told`) is looked up when somebody asks: every start of the program would pay for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
