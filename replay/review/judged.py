"""What counts say: roles and how they are used, keys that do not expire, who crosses scopes, what could be tightened.

Pure. Times are epoch seconds within, ISO 8601 in what comes out. `period`: first and last second that was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from detector.core.access import Operation
from detector.core.principal import ANONYMOUS, is_identity_center_role, role_of_assumed_arn
from detector.core.times import epoch, iso, iso_or_none
from detector.response.identity import role_of
from replay.cache.summed import Sums
from replay.review.existing import Existing
from replay.review.usage import Usage, Who

Json = dict[str, Any]
DAY = 86_400
IDLE, LONG_IDLE = 30, 90
"""Days without use after which a role is named."""
SHOWN = 20
"""Sources, buckets and the like of one role that are named."""
KINDS = {
    "AssumedRole": "role", "Role": "role", "IAMUser": "IAM user", "Root": "root", "FederatedUser": "federated user",
    "AWSAccount": "other account", "AWSService": "AWS service", ANONYMOUS: "anonymous",
}  # fmt: skip
AWS_PATHS = ("/aws-service-role/", "/aws-reserved/")
"""Roles that AWS makes, and keeps, for itself."""


class Advice(NamedTuple):
    """What could be tightened: which kind of thing, whose, why, and how."""

    kind: str
    who: str
    why: str
    do: str


@dataclass(frozen=True, slots=True)
class Period:
    """first, last: epoch seconds; of no record both are None."""

    first: int | None
    last: int | None

    @property
    def days(self) -> int:
        """Days looked at, begun ones too."""
        return 0 if self.first is None or self.last is None else (self.last - self.first) // DAY + 1


def kind_of(who: Who) -> str:
    """What kind of identity it is."""
    if who.role_key.startswith("service:"):
        return "AWS service"
    if is_identity_center_role(who.role):
        return "Identity Center"
    return KINDS.get(who.type, who.type)


def roles(usage: Usage, period: Period) -> list[Json]:
    """Every role, user or other identity: how much it did, from where, for how long; most bytes first."""
    by_role: dict[str, Json] = {}
    for who in usage.who:
        one = by_role.setdefault(who.role_key, _nothing(who))
        one["session_names"] += who.session_name is not None
        one["machines"] += who.of_machine
    _add_cells(usage, by_role)
    _add_sides(usage, by_role)
    return sorted((_closed(one, period) for one in by_role.values()), key=lambda r: (-r["bytes"], r["role"]))


def _add_cells(usage: Usage, by_role: dict[str, Json]) -> None:
    number = {key: at for at, key in enumerate(by_role)}
    role = np.array([number[who.role_key] for who in usage.who], np.int32)[usage.cells.by]
    used = usage.by_operation.sum(axis=1) - usage.by_operation[:, Operation.assume]
    counts, sums = np.zeros((len(number), 3), np.int64), Sums.none(len(number)).add(role, usage.cells.sums)
    np.add.at(counts, role, np.stack((usage.objects, usage.denied, used), axis=1))
    every = list(by_role.values())
    for at in np.unique(role).tolist():
        every[at] |= dict(zip(("objects", "denied", "used"), counts[at].tolist(), strict=True))
        every[at] |= {"requests": int(sums.requests[at]), "bytes": int(sums.bytes[at])}
        every[at] |= {"first": iso(int(sums.first[at])), "last": iso(int(sums.last[at]))}
    for at, place in np.unique(np.stack((role, usage.cells.where), axis=1), axis=0).tolist():
        every[at]["buckets"].add(usage.places[place][0])


def _nothing(who: Who) -> Json:
    head = {"role": who.role, "key": who.role_key, "kind": kind_of(who), "account": who.account}
    counts = ("session_names", "machines", "sessions", "requests", "used", "objects", "bytes", "denied", "presigned")
    spans = {"first": "9", "last": "", "longest_session_seconds": None}
    return head | dict.fromkeys(counts, 0) | spans | {"sources": {}, "buckets": set()}


def _add_sides(usage: Usage, by_role: dict[str, Json]) -> None:
    for (by, source), requests, *_ in usage.side("sources"):
        sources = by_role[usage.who[by].role_key]["sources"]
        sources[source or "unknown"] = sources.get(source or "unknown", 0) + requests
    for (by, *_), *_ in usage.side("sessions"):
        by_role[usage.who[by].role_key]["sessions"] += 1
    for (by, *_), requests, *_ in usage.side("signed"):
        by_role[usage.who[by].role_key]["presigned"] += requests
    for who, longest in zip(usage.who, usage.longest, strict=True):
        one = by_role[who.role_key]
        if longest >= 0:
            one["longest_session_seconds"] = max(one["longest_session_seconds"] or 0, longest)


def _closed(one: Json, period: Period) -> Json:
    sources = sorted(one["sources"].items(), key=lambda item: (-item[1], item[0]))
    last = epoch(one["last"])
    return one | {
        "idle_days": 0 if period.last is None or last is None else max(0, period.last - last) // DAY,
        "sources": [source for source, _ in sources[:SHOWN]],
        "sources_count": len(sources),
        "buckets": sorted(bucket for bucket in one["buckets"] if bucket)[:SHOWN],
        "buckets_count": len(one["buckets"] - {""}),
    }


def unused(listed: Sequence[Existing], used: Sequence[Json], period: Period) -> list[Json]:
    """Roles that there are and that did nothing in the period; those made during it are not held against anybody."""
    keys = {one["key"] for one in used if one["used"]}
    names = {_name(one["role"]) for one in used if one["used"]} - {None}
    out = []
    for one in listed:
        if one.id in keys or _name(one.role.arn) in names or one.role.path.startswith(AWS_PATHS):
            continue
        young = one.created is not None and period.first is not None and one.created > period.first
        told = {
            "role": one.role.arn,
            "created": iso_or_none(one.created),
            "last_used_anywhere": iso_or_none(one.last_used),
        }
        out.append(told | {"made_during_the_period": young})
    return out


def _name(arn: str) -> tuple[str, str] | None:
    """Account and name of a role, however it is written: the ARN of a session has no path."""
    if role := role_of(arn):
        return role.account, role.name
    parts = role_of_assumed_arn(arn).split(":", 5)
    named = len(parts) == 6 and parts[5].startswith("assumed-role/")
    return (parts[4], parts[5].split("/")[1]) if named else None


def only_assumed(usage: Usage, used: Sequence[Json]) -> list[Json]:
    """Roles of which sessions were begun, and did nothing that was logged."""
    keys = {one["key"] for one in used if one["used"]}
    out: dict[str, Json] = {}
    for (_, role_id, arn), times, _, first, last in usage.side("began"):
        if role_id and role_id not in keys:
            one = out.setdefault(role_id, {"role": role_of_assumed_arn(arn), "role_id": role_id, "times": 0})
            one["times"] += times
            _span(one, first, last)
    return sorted(out.values(), key=lambda one: (one["role"], one["role_id"]))


def long_lived(usage: Usage) -> list[Json]:
    """Credentials that do not expire, and requests without any."""
    rows = [(usage.who[by], key, *sums) for (by, key), *sums in usage.side("keys")]
    anonymous = np.array([who.type == ANONYMOUS for who in usage.who], np.bool_)
    of_nobody = usage.cells.items(np.flatnonzero(anonymous[usage.cells.by]))
    nobody = [(usage.who[by], None, requests, size, first, last) for by, _, requests, size, first, last in of_nobody]
    out = [
        {"who": who.role, "kind": kind_of(who), "access_key": key, "requests": requests, "bytes": size,
         "first": iso(first), "last": iso(last)}
        for who, key, requests, size, first, last in (*rows, *_joined(nobody))
    ]  # fmt: skip
    return sorted(out, key=lambda one: (-one["bytes"], -one["requests"], one["who"], one["access_key"] or ""))


def _joined(rows: Iterable[tuple[Who, None, int, int, int, int]]) -> list[tuple[Who, None, int, int, int, int]]:
    """Of all of them one row, if there are any."""
    every = list(rows)
    if not every:
        return []
    who, _, requests, size, first, last = zip(*every, strict=True)
    return [(who[0], None, sum(requests), sum(size), min(first), max(last))]


def cross_scope(usage: Usage) -> list[Json]:
    """What was done outside of the scope of a name, by identity."""
    out: dict[int, Json] = {}
    rows = np.flatnonzero(usage.cells.outside)
    for at, (by, where, requests, size, first, last) in zip(rows.tolist(), usage.cells.items(rows), strict=True):
        one = out.setdefault(
            by, _named(usage.who[by]) | {"requests": 0, "objects": 0, "bytes": 0, "denied": 0, "places": []}
        )
        one["requests"] += requests
        one["objects"] += int(usage.objects[at])
        one["bytes"] += size
        one["denied"] += int(usage.denied[at])
        one["places"].append("/".join(usage.places[where]))
        _span(one, first, last)
    for one in out.values():
        one["places_count"], one["places"] = len(one["places"]), sorted(one["places"])[:SHOWN]
    return sorted(out.values(), key=lambda one: (-one["requests"], one["role"], one["session_name"] or ""))


def several_owners(usage: Usage) -> list[Json]:
    """Identities that read the objects of more than one owner."""
    owners: dict[int, list[tuple[int, str]]] = {}
    for (by, owner), requests, *_ in usage.side("owners"):
        owners.setdefault(by, []).append((-requests, owner))
    out = [
        _named(usage.who[by]) | {"owners": [owner for _, owner in sorted(some)[:SHOWN]], "owners_count": len(some)}
        for by, some in owners.items()
        if len(some) > 1
    ]
    return sorted(out, key=lambda one: (-one["owners_count"], one["role"], one["session_name"] or ""))


def purposes(usage: Usage) -> list[Json]:
    """What the application said it read for, by bucket."""
    out: dict[tuple[str, str], Json] = {}
    for (by, purpose, bucket), requests, size, first, last in usage.side("purposes"):
        one = out.setdefault((purpose or "", bucket or ""), {"requests": 0, "bytes": 0, "people": set()})
        one["requests"] += requests
        one["bytes"] += size
        one["people"].add(by)
        _span(one, first, last)
    rows = [
        {"purpose": purpose or None, "bucket": bucket or None} | one | {"people": len(one["people"])}
        for (purpose, bucket), one in out.items()
    ]
    return sorted(rows, key=lambda one: (-one["requests"], one["purpose"] or "", one["bucket"] or ""))


def _span(one: Json, first: int, last: int) -> None:
    """Widen what it says of first and last."""
    one["first"], one["last"] = min(one.get("first", iso(first)), iso(first)), max(one.get("last", ""), iso(last))


def _named(who: Who) -> Json:
    return {"role": who.role, "session_name": who.session_name, "kind": kind_of(who), "account": who.account}


def advice(found: Json) -> list[Json]:
    """What could be tightened, of a review: the worst first."""
    return [one._asdict() for one in (*_of_keys(found), *_of_scopes(found), *_of_roles(found))]


def _of_keys(found: Json) -> Iterator[Advice]:
    for one in found["long_lived"]:
        told = f"{one['requests']:,} requests, last {one['last']}"
        if one["kind"] == "root":
            yield Advice("root", one["who"], told, "delete the root's access keys; work through roles")
        elif one["kind"] == ANONYMOUS:
            yield Advice("anonymous", "anybody", told, "block public access, or give these readers a role")
        else:
            who = f"{one['who']} {one['access_key'] or ''}".strip()
            yield Advice("long-lived key", who, told, "replace the key by a role that is assumed; then delete it")


def _of_scopes(found: Json) -> Iterator[Advice]:
    for one in found["cross_scope"]:
        told = f"{one['requests']:,} requests out of its scope, such as {one['places'][0]}"
        yield Advice("out of scope", _who(one), told, "assume the role with the policy in policies/, or find out why")
    for one in found["several_owners"]:
        told = f"objects of {one['owners_count']:,} owners, such as {', '.join(one['owners'][:3])}"
        yield Advice("several owners", _who(one), told, "one session an owner, with a policy for its prefix")


def _of_roles(found: Json) -> Iterator[Advice]:
    for one in found["unused"]:
        if not one["made_during_the_period"]:
            told = f"not seen here; anywhere in AWS: {one['last_used_anywhere'] or 'not known'}"
            yield Advice("unused role", one["role"], told, "take S3 out of its policies, or delete it")
    for one in found["only_assumed"]:
        told = f"assumed {one['times']:,} times, and did nothing here"
        yield Advice("role assumed in vain", one["role"], told, "ask who assumes it, and what for")
    for one in found["roles"]:
        if one["kind"] not in ("role", "Identity Center", "IAM user", "federated user"):
            continue
        if one["idle_days"] >= IDLE:
            grade = f"more than {LONG_IDLE}" if one["idle_days"] >= LONG_IDLE else f"more than {IDLE}"
            told = f"last used {one['last']}, {grade} days before the end"
            yield Advice("idle", one["role"], told, "take S3 out of its policies, or delete it")
        if one["kind"] == "role" and one["session_names"] - one["machines"] > 1 and one["objects"]:
            told = f"{one['session_names'] - one['machines']:,} names share its rights"
            yield Advice("shared role", one["role"], told, "pass a session policy for each name: policies/")
        if one["sources_count"] == 1 and one["sources"][0].startswith("vpce-"):
            told = f"all {one['requests']:,} requests came through {one['sources'][0]}"
            yield Advice("one endpoint", one["role"], told, "allow it only with the condition aws:SourceVpce")


def _who(one: Json) -> str:
    return f"{one['role']} {one['session_name'] or ''}".strip()
