"""A policy for everybody who assumes a role: a session's, where people share the role, else one for the role itself."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from detector.core.access import I64, Operation
from detector.core.principal import is_identity_center_role, role_of_assumed_arn
from detector.response.identity import SESSION_NAME, role_of
from detector.response.scoped import LIMIT, Place, Seen, lifetime, scoped, subjects
from replay.review.judged import AWS_PATHS, Json
from replay.review.usage import Usage

MOST = 200
"""Policies that are written, those of who read most objects."""
UNKNOWN_LIFETIME = 3600
OPERATIONS = {
    "read": (Operation.read, Operation.copy, Operation.head), "write": (Operation.write,),
    "delete": (Operation.delete,), "restore": (Operation.restore,), "list": (Operation.list,),
}  # fmt: skip
PARTITION = re.compile(r"arn:(aws[a-z0-9-]*):", re.ASCII)
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,254}", re.ASCII)
Key = tuple[str, str | None]
"""Role key, and session name, or None for the role itself."""


@dataclass(slots=True)
class _Gathered:
    """What is known of whom a policy is for."""

    role: str
    longest: int = -1
    places: dict[str, set[Place]] = field(default_factory=lambda: {name: set() for name in OPERATIONS})
    apis: set[str] = field(default_factory=set)
    kms_keys: set[str] = field(default_factory=set)
    points: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Suggested:
    """Policies as review.json tells them, and their texts by file name. more: whose were left away."""

    told: list[Json]
    files: dict[str, str]
    more: int


def suggested(usage: Usage) -> Suggested:
    """Policies for the sessions of roles that several names share, and for the other roles."""
    order, more = _gather(usage)
    told: list[Json] = []
    files: dict[str, str] = {}
    for (_, name), one in order:
        made = scoped(_seen(one))
        file = _file_name(one.role, name, set(files))
        if made.document:
            files[file] = made.text
        told.append(
            {
                "role": one.role,
                "session_name": name,
                "for": "session" if name else "role",
                "file": f"policies/{file}" if made.document else None,
                "characters": len(made.text) if made.document else None,
                "allows": subjects(made.places),
                "wider_than_seen": subjects(made.widened),
                "left_out": list(made.left_out),
                "access_points": sorted(one.points),
                "longest_session_seconds": one.longest if one.longest >= 0 else None,
                "duration_seconds": _duration(one) if name else None,
                "command": _command(one, name, file) if made.document else None,
                "remark": "" if made.document else f"nothing narrower than all it used fits into {LIMIT:,} characters",
            }
        )
    return Suggested(told, files, more)


def _gather(usage: Usage) -> tuple[list[tuple[Key, _Gathered]], int]:
    """Whose policies are written, in their order, and of how many more there might be one."""
    keys = _keys(usage)
    number = {key: at for at, key in enumerate(dict.fromkeys(keys.values()))}
    of_who = np.array([number[keys[by]] if by in keys else -1 for by in range(len(usage.who))], np.int64)
    seen: dict[str, Any] = {name: usage.by_operation[:, list(of)].any(axis=1) for name, of in OPERATIONS.items()}
    named = np.array([BUCKET.fullmatch(bucket) is not None for bucket, _ in usage.places], np.bool_)
    of_cell, where = of_who[usage.cells.by], usage.cells.where
    cells = np.flatnonzero((of_cell >= 0) & named[where] & np.any([*seen.values()], axis=0))
    objects = np.zeros(len(number), np.int64)
    np.add.at(objects, of_cell[cells], usage.objects[cells])
    every, role = [*number], {key: usage.who[one].role for one, key in keys.items()}
    order = sorted(
        np.unique(of_cell[cells]).tolist(), key=lambda at: (-objects[at], role[every[at]], every[at][1] or "")
    )
    chosen = {at: _Gathered(role[every[at]]) for at in order[:MOST]}
    for cell in cells[np.isin(of_cell[cells], [*chosen])].tolist():
        for name, of_cells in seen.items():
            if of_cells[cell]:
                chosen[int(of_cell[cell])].places[name].add(Place(*usage.places[where[cell]]))
    _add_sides(usage, of_who, chosen)
    return [(every[at], one) for at, one in chosen.items()], max(0, len(order) - MOST)


def _add_sides(usage: Usage, of_who: I64, chosen: dict[int, _Gathered]) -> None:
    for by, longest in enumerate(usage.longest):
        if one := chosen.get(int(of_who[by])):
            one.longest = max(one.longest, longest)
    for side in ("apis", "kms_keys", "access_points"):
        for (by, text), *_ in usage.side(side):
            if text and (one := chosen.get(int(of_who[by]))):
                {"apis": one.apis, "kms_keys": one.kms_keys, "access_points": one.points}[side].add(text)


def _keys(usage: Usage) -> dict[int, Key]:
    """Identity → for whom its policy is. Machines do not choose with what policy their role is assumed."""
    sharing = Counter(who.role_key for who in usage.who if who.session_name and not who.of_machine)
    return {
        by: (who.role_key, who.session_name if sharing[who.role_key] > 1 and not who.of_machine else None)
        for by, who in enumerate(usage.who)
        if who.type == "AssumedRole" and _of_customer(who.role)
    }


@lru_cache(1 << 16)
def _of_customer(arn: str) -> bool:
    """Whether it is a role's, and not one that AWS makes for itself. Many names share a role."""
    role = role_of(arn)
    of_aws = is_identity_center_role(arn) or (role is not None and role.path.startswith(AWS_PATHS))
    return bool(PARTITION.match(arn)) and not of_aws


def _seen(one: _Gathered) -> Seen:
    match = PARTITION.match(one.role)
    places = {name: frozenset(places) for name, places in one.places.items()}
    return Seen(places, frozenset(one.apis), frozenset(one.kms_keys), match[1] if match else "aws")


def _duration(one: _Gathered) -> int:
    return lifetime(one.longest) if one.longest >= 0 else UNKNOWN_LIFETIME


def _command(one: _Gathered, name: str | None, file: str) -> str | None:
    """What a broker runs instead of what it runs now; of a role: what puts the policy on it."""
    role = role_of(one.role)
    if role is None or (name is not None and not SESSION_NAME.fullmatch(name)):
        return None
    document = f"file://policies/{file}"
    words = ["aws", "iam", "put-role-policy", "--role-name", role.name, "--policy-name", "least-seen",
             "--policy-document", document]  # fmt: skip
    if name is not None:
        words = ["aws", "sts", "assume-role", "--role-arn", role.arn, "--role-session-name", name,
                 "--duration-seconds", str(_duration(one)), "--policy", document]  # fmt: skip
    return shlex.join(words)


def _file_name(role: str, name: str | None, taken: set[str]) -> str:
    """Letters of a name that are safe in a file's; told apart by a number where they are not enough."""
    account, resource = role_of_assumed_arn(role).split(":", 5)[-2:]  # of any text that begins like an ARN
    words = [account, resource.rpartition("/")[2], *([name] if name else [])]
    stem = ".".join(_safe_words(words)) or "policy"
    number = next(n for n in range(1, len(taken) + 2) if _numbered(stem, n) not in taken)
    return _numbered(stem, number)


def _safe_words(words: list[str]) -> Iterator[str]:
    for word in words:
        yield re.sub(r"[^\w=+@-]", "_", word, flags=re.ASCII)[:64]


def _numbered(stem: str, number: int) -> str:
    return f"{stem}.json" if number == 1 else f"{stem}.{number}.json"
