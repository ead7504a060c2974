"""A finding: one episode in which a group was at or above a rule's threshold. Pure.

`Finding` is the contract's JSON, field by field; what it shows of the records behind it is made in `evidence.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from detector.core.principal import Principal, fingerprint
from detector.core.times import iso

T = TypeVar("T")

SCHEMA = "bucketwatch.finding.v1"
LIST_LIMIT = 20
SEVERITIES = ("info", "low", "medium", "high", "critical")


def group_key(parts: Sequence[str]) -> str:
    """A group's key, one text a level, as one text that no other key gives."""
    return json.dumps(parts)


def finding_id(rule_id: str, group_key: str, opened_at: int) -> str:
    """Name of a CLOSED finding: a pure function of the records."""
    return f"{fingerprint((rule_id, group_key, opened_at)):016x}"


def alert_id(rule_id: str, group_key: str, opened_at: int) -> str:
    """Name of all alerts of a finding, decided when it is first opened."""
    return f"a-{fingerprint(('alert', rule_id, group_key, opened_at)):016x}"


def prefix_of(key: str) -> str:
    """The part of an object key up to and with its last slash; empty for a key at the bucket's root."""
    return key[: key.rfind("/") + 1]


def prefixes_of(keys: Iterable[str]) -> list[str]:
    """`prefix_of` each of these keys: a call for every row of a log would cost as much as all else about it."""
    return [key[: key.rfind("/") + 1] for key in keys]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. Times in epoch seconds. `group`: level → what a person is shown; `group_id`: its fingerprint.

    members: fingerprints of what the finding is about within its group; empty: all of it.
    """

    finding_id: str
    rule_id: str
    title: str
    kind: str
    severity: str
    state: str
    opened_at: int
    last_at: int
    window_seconds: int
    measure: str
    threshold: float
    peak_value: float
    peak_at: int
    group: dict[str, str]
    group_id: int
    principal: dict[str, Any] | None
    explanation: str
    evidence: dict[str, Any] = field(default_factory=dict)
    at_least: bool = False
    late: bool = False
    alert_ids: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    members: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The finding as a line of `findings.jsonl`."""
        out: dict[str, Any] = {
            "finding_id": self.finding_id,
            "rule_id": self.rule_id,
            "title": self.title,
            "kind": self.kind,
            "severity": self.severity,
            "state": self.state,
            "opened_at": iso(self.opened_at),
            "last_at": iso(self.last_at),
            "window_seconds": self.window_seconds,
            "measure": self.measure,
            "threshold": self.threshold,
            "peak_value": self.peak_value,
            "peak_at": iso(self.peak_at),
            "group": self.group,
            "principal": self.principal,
            "evidence": self.evidence,
            "explanation": self.explanation,
        }
        if self.at_least:
            out["at_least"] = True
        if self.late:
            out["late"] = True
        return out | self.details

    @property
    def excess(self) -> float:
        """How far past its threshold."""
        return self.peak_value / self.threshold if self.threshold > 0 else float(self.peak_value)

    def badness(self) -> tuple[int, float, int, str]:
        """By which findings are sorted for people, the worst first: severity, how far past the threshold, time."""
        return -SEVERITIES.index(self.severity), -self.excess, self.opened_at, self.finding_id

    def with_evidence(self, evidence: dict[str, Any]) -> Finding:
        """The same finding with its evidence."""
        return replace(self, evidence=evidence)


def principal_json(principals: Iterable[Principal], level: str) -> dict[str, Any] | None:
    """The `principal` of a finding whose group is one session or one role; None where it is many.

    Where credentials were renewed, `issued_at` is the earliest and every access key is listed. At role level the
    session's own fields are null when the role had more than one session.
    """
    known = sorted(set(principals), key=repr)
    if level not in ("session", "role", "session_name", "access_key") or not known:
        return None
    if len({p.session for p in known}) > 1 and level in ("session_name", "access_key"):
        return None
    first = known[0]
    one_session = len({p.session for p in known}) == 1
    issued = [p.issued_at for p in known if p.issued_at is not None]
    return {
        "type": first.type if len({p.type for p in known}) == 1 else _best_type(known),
        "session": shown(p.session_shown for p in known) if one_session else None,
        "role": shown(p.role_shown for p in known),
        "account": first.account,
        "session_name": _only(p.session_name for p in known) if one_session else None,
        "principal_id": _only(p.principal_id for p in known) if one_session else None,
        "issued_at": iso(min(issued)) if issued and one_session else None,
        "issue_times": [iso(at) for at in sorted(set(issued))[:LIST_LIMIT]] if one_session else [],
        "issued_to": _only(p.issued_to for p in known),
        "access_key_ids": sorted({p.access_key for p in known if p.access_key})[:LIST_LIMIT],
        "source_identity": _only(p.source_identity for p in known),
        "identity_center_user": _only(p.identity_center_user for p in known),
        "mfa": _only(p.mfa for p in known),
        "invoked_by": _only(p.invoked_by for p in known),
    }


def shown(names: Iterable[str]) -> str:
    """What a person is shown of an identity seen under several names: the smallest ARN, else the smallest name."""
    return min(names, key=lambda name: (not name.startswith("arn:"), name))


def _best_type(principals: list[Principal]) -> str:
    """A foreign role is AWSAccount in one trail and AssumedRole in its own: the fuller record names it."""
    return next((p.type for p in principals if p.session_shown.startswith("arn:")), principals[0].type)


def _only(values: Iterable[T | None]) -> T | None:
    known = {v for v in values if v is not None}
    return known.pop() if len(known) == 1 else None
