"""Whom an investigation is about: told apart by shape, looked for in the records. Pure.

Rules of this file
- WHO is a text in the log's own words. What its shape does not tell, `--as` does.
- In access logs a role is `assumed-role/NAME`, without its path: its ARN finds these records, too. Within an account a
  role's name is given once, whatever its path.
- A finding stands for its session if it is about one, and all that it did; else for its group within its time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from detector.core.addresses import Networks, network
from detector.core.principal import account_of_arn
from detector.core.times import epoch
from detector.core.watermark import FOREVER, NEVER
from detector.errors import InputError
from replay.columns import Piece
from replay.investigate.reach import Reach, Why

Kind = Literal[
    "principal", "session", "role", "address", "access_key", "person", "account", "vpc_endpoint", "finding", "incident"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

COLUMNS: dict[str, tuple[str, ...]] = {
    "principal": ("session", "session_key", "role", "role_key"),
    "session": ("session", "session_key"),
    "role": ("role", "role_key"),
    "address": ("source_ip",),
    "access_key": ("access_key",),
    "person": ("source_identity", "identity_center_user"),
    "account": ("account",),
    "vpc_endpoint": ("vpc_endpoint",),
}
"""Kind → the columns in which it stands."""

_SHAPES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("session", re.compile(r"arn:[^:]*:sts:[^:]*:[0-9]*:assumed-role/[^/]+/.+|ARO[A-Z0-9]+:.+", re.DOTALL)),
    (
        "role",
        re.compile(r"arn:[^:]*:iam:[^:]*:[0-9]*:role/.+|arn:[^:]*:sts:[^:]*:[0-9]*:assumed-role/[^/]+|AROA[A-Z0-9]+"),
    ),
    ("principal", re.compile(r"arn:.+|anonymous(@.*)?|service:.+|[0-9]{12}:.+|AIDA[A-Z0-9]+|app:.+", re.DOTALL)),
    ("access_key", re.compile(r"A[A-Z]IA[A-Z0-9]{4,}")),
    ("account", re.compile(r"[0-9]{12}")),
    ("vpc_endpoint", re.compile(r"vpce-[0-9a-z]+")),
    ("finding", re.compile(r"(a-)?[0-9a-f]{16}")),
    ("incident", re.compile(r"i-[0-9a-f]{16}")),
)
"""Which shape tells which kind; the first that fits."""
_OF_GROUP: dict[str, Kind | None] = {
    "session": "session", "role": "role", "account": "account", "access_key": "access_key", "source_ip": "address",
    "public_ip": "address", "source_net": None, "public_net": None, "vpc_endpoint": "vpc_endpoint",
}  # fmt: skip
"""Level of a finding's group → kind; None: its shape tells."""
NEAR = 5
COMPARED = 20_000
"""Names that are compared letter by letter, at most."""


@dataclass(frozen=True, slots=True)
class Who:
    """Whom it is about. first, last: of what counts as theirs (epoch seconds). finding: where it came from, if so.

    also: whom else, of one incident. lost: findings of it that were not to be had.
    """

    kind: Kind
    texts: tuple[str, ...]
    first: int = NEVER
    last: int = FOREVER
    finding: Mapping[str, Any] | None = None
    also: tuple[Who, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in which they stand."""
        return tuple(dict.fromkeys(name for one in (self, *self.also) for name in COLUMNS[one.kind]))

    @property
    def names(self) -> tuple[str, ...]:
        """All that they are called."""
        return tuple(dict.fromkeys(text for one in (self, *self.also) for text in one.texts))

    def begin(self, reach: Reach) -> None:
        """Reach their records."""
        if self.kind == "address" and (nets := [net for text in self.texts if (net := _network(text))]):
            reach.add_networks(Networks(nets), Why.who, self.first, self.last)
        for column in COLUMNS[self.kind]:
            reach.add(column, self.texts, Why.who, self.first, self.last)
        for one in self.also:
            one.begin(reach)


def who(text: str, kind: Kind | None = None) -> Who:
    """Whom a text means. Raises InputError if neither its shape nor `kind` tells."""
    if kind is None:
        kind = "address" if _network(text) else next((one for one, shape in _SHAPES if shape.fullmatch(text)), None)
    if kind is None:
        raise InputError(
            f"'{ascii(text)[1:-1][:200]}' may be anything",
            where="WHO",
            remedy="expected an ARN, an address, an access key, a unique id, a finding's or incident's id; "
            f"or say what it is with --as: {', '.join(KINDS)}",
        )
    if kind == "role" and (other := _other_name(text)):
        return Who(kind, (text, other))
    return Who(kind, (text,))


def of_finding(finding: Mapping[str, Any]) -> Who:
    """Whom a finding is about. Raises InputError if its group is nobody."""
    principal, group, evidence = (finding.get(name) or {} for name in ("principal", "group", "evidence"))
    window = finding.get("window_seconds")
    opened, last = epoch(finding.get("opened_at")), epoch(finding.get("last_at"))
    plain = all(isinstance(one, dict) for one in (principal, group, evidence))
    if opened is None or last is None or not isinstance(window, int) or not plain:
        raise InputError(
            "this is no finding of bucketwatch", where="WHO", remedy="take it from findings.jsonl or an alert"
        )
    if names := [one for one in (principal.get("session"), principal.get("principal_id")) if isinstance(one, str)]:
        return Who("session", tuple(dict.fromkeys(names)), finding=finding)
    within = (opened - window + 1, last)
    for level, kind in _OF_GROUP.items():
        if isinstance(name := group.get(level), str):
            found = who(name, kind)
            return Who(found.kind, found.texts, *within, finding=finding)
    if sessions := [one for one in evidence.get("sessions") or () if isinstance(one, str)]:
        return Who("session", tuple(sessions), *within, finding=finding)
    raise InputError(
        f"this finding is about nobody in particular: its group is {ascii(', '.join(group))[1:-1] or 'empty'}",
        where="WHO",
        remedy="investigate a session or an address that it names",
    )


def of_incident(findings: Iterable[Mapping[str, Any]]) -> Who:
    """Whom the findings of an incident are about: those that are about somebody. Raises InputError if none is."""
    found: list[Who] = []
    nobody: InputError | None = None
    for finding in findings:
        try:
            found.append(of_finding(finding))
        except InputError as error:
            nobody = nobody or error
    if nobody and not found:
        raise nobody
    return replace(found[0], finding=None, also=tuple(found[1:])) if len(found) > 1 else found[0]


def names(piece: Piece, columns: Iterable[str]) -> set[str]:
    """The names that stand in these columns of a piece."""
    found: set[str] = set()
    for name in columns:
        found.update(piece.text(name).values)
    return found


def near(text: str, known: set[str]) -> list[str]:
    """Of the names that are there those most like a text: that contain it, or its last part, else the most alike."""
    wanted = text.lower()
    last = wanted.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
    holding = [name for part in (wanted, last) if len(part) > 2 for name in sorted(known) if part in name.lower()]
    some = sorted(known)[:COMPARED]
    return list(dict.fromkeys([*holding[:NEAR], *get_close_matches(text, some, NEAR, 0.6)]))[:NEAR]


def _network(text: str) -> Any:
    try:
        return network(text)
    except ValueError:
        return None


def _other_name(role: str) -> str | None:
    """A role's name in access logs, by its ARN."""
    partition, account = role.split(":", 2)[1] if role.startswith("arn:") else "", account_of_arn(role)
    if not account or ":role/" not in role:
        return None
    return f"arn:{partition}:sts::{account}:assumed-role/{role.rsplit('/', 1)[-1]}"
