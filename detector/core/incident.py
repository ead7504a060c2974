"""An incident: findings that belong together, as one story: who, how long, how much, whose, and why they are one. Pure.

Rules of this file
- What belongs together says `links`. Every finding is in one incident; most incidents are one finding.
- An incident's id follows from its first finding. It is as bad as its worst finding.
- Nothing is counted twice: where only the findings' own counts are known, a sum says between which bounds it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from detector.core.amounts import counted, people
from detector.core.finding import LIST_LIMIT, SEVERITIES, Finding
from detector.core.links import Link
from detector.core.principal import fingerprint
from detector.core.times import iso

SCHEMA = "bucketwatch.incident.v1"
WHY = {
    "session": "the same session {}",
    "person": "the same person {}",
    "credential": "the same access key {}",
    "role": "the same role {}",
    "chain": "sessions that {} began, or that began it",
    "network": "the same network {}, which hardly anybody else used then",
    "copy": "copies went to bucket {}, which was read then",
}
"""Kind of link → what it says."""
BECAUSE = 3
"""Links that a sentence names."""


class Amount(NamedTuple):
    """A sum over findings, whose records may overlap."""

    at_least: int
    at_most: int

    def to_json(self) -> dict[str, int]:
        """Both bounds; they are alike where the sum is exact."""
        return {"at_least": self.at_least, "at_most": self.at_most}

    def __str__(self) -> str:
        if self.at_least == self.at_most:
            return f"{self.at_least:,}"
        return f"{self.at_least:,} to {self.at_most:,}"


@dataclass(frozen=True, slots=True)
class Loss:
    """What was read, counted object by object. owners: how many people's it was; None: nobody asked.

    named: the first of them (`LIST_LIMIT`), by hash. ownerless: objects whose keys name no owner.
    """

    objects: int
    owners: int | None = None
    named: tuple[str, ...] = ()
    ownerless: int = 0


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings in order of time, the links between them, and what they come to. loss: None where it was not counted."""

    findings: tuple[Finding, ...]
    links: tuple[dict[str, Any], ...]
    loss: Loss | None = None
    plan: Mapping[str, Any] | None = None

    @property
    def incident_id(self) -> str:
        """A pure function of the findings."""
        return incident_id(self.findings[0].finding_id)

    @property
    def severity(self) -> str:
        """Of the worst finding."""
        return max((one.severity for one in self.findings), key=SEVERITIES.index)

    @property
    def opened_at(self) -> int:
        """Epoch seconds."""
        return self.findings[0].opened_at

    @property
    def last_at(self) -> int:
        """Epoch seconds."""
        return max(one.last_at for one in self.findings)

    @property
    def objects(self) -> Amount:
        """Distinct objects."""
        return self.amount("objects") if self.loss is None else Amount(self.loss.objects, self.loss.objects)

    def amount(self, name: str) -> Amount:
        """A count of the findings' evidence over all of them: those of different sessions share no request."""
        of_session: dict[str, int] = {}
        counts = [(one, int(one.evidence.get(name) or 0)) for one in self.findings]
        for one, count in counts:
            if session := str((one.principal or {}).get("session") or ""):
                of_session[session] = max(of_session.get(session, 0), count)
        apart = sum(of_session.values()) if name != "objects" else 0
        return Amount(max(apart, *(count for _, count in counts)), sum(count for _, count in counts))

    def names(self, level: str) -> list[str]:
        """Sessions, roles, accounts, and so on, that the findings name."""
        return sorted({name for one in self.findings for name in _named(one, level)})

    def to_json(self) -> dict[str, Any]:
        """A line of `incidents.jsonl`."""
        out: dict[str, Any] = {
            "schema": SCHEMA,
            "incident_id": self.incident_id,
            "severity": self.severity,
            "opened_at": iso(self.opened_at),
            "last_at": iso(self.last_at),
            "findings": [one.finding_id for one in self.findings],
            "rules": sorted({one.rule_id for one in self.findings}),
        }
        for level in LEVELS:
            names = self.names(level)
            cut = any(_is_cut(one, level) for one in self.findings)
            out[level] = {"count": len(names), "shown": names[:LIST_LIMIT]} | ({"at_least": True} if cut else {})
        out |= {name: self.amount(name).to_json() for name in ("requests", "bytes")}
        out["objects"] = self.objects.to_json()
        if self.loss is not None and self.loss.owners is not None:
            out["owners"] = {
                "count": self.loss.owners,
                "shown": list(self.loss.named),
                "objects_without_owner": self.loss.ownerless,
            }
        return out | {
            "links": list(self.links),
            "timeline": [*map(_moment, self.findings)],
            "plan": self.plan,
            "explanation": self.explanation,
        }

    @property
    def explanation(self) -> str:
        """What happened, and why it is one incident, in a sentence."""
        return f"{self.sums}, from {iso(self.opened_at)} to {iso(self.last_at)}{because(self.links)}."

    @property
    def told(self) -> str:
        """A line for a person: of a single finding what it says itself."""
        first = self.findings[0]
        return self.explanation if len(self.findings) > 1 else f"{first.rule_id}: {first.explanation}"

    @property
    def sums(self) -> str:
        """How much of what, in words."""
        who = [counted(len(names), level[:-1]) for level in ("sessions", "roles") if (names := self.names(level))]
        whose = ""
        if self.loss is not None and self.loss.owners is not None:
            whose = f" of {people(self.loss.owners)}"
        read = f"{self.objects} objects{whose}" if self.objects.at_most else ""
        return ", ".join(filter(None, [counted(len(self.findings), "finding"), " of ".join(who), read]))


LEVELS = ("sessions", "roles", "accounts", "people", "source_ips", "buckets", "destinations")
"""What an incident counts and names of its findings."""


def incident_id(first_finding_id: str) -> str:
    """The id of the incident that began with this finding."""
    return f"i-{fingerprint(('incident', first_finding_id)):016x}"


def incident(findings: Iterable[Finding], links: Iterable[tuple[Link, Sequence[str]]], loss: Loss | None) -> Incident:
    """The incident of these findings. links: each with the ids of the findings that it joins."""
    told = [
        {"kind": key.kind, "what": key.what, "between": list(ids), "why": WHY[key.kind].format(key.what)}
        for (key, _), ids in links
    ]
    return Incident(tuple(sorted(findings, key=lambda one: (one.opened_at, one.finding_id))), tuple(told), loss)


def worst_first(some: Iterable[Incident]) -> list[Incident]:
    """By severity, then how much, then age."""
    return sorted(
        some,
        key=lambda one: (
            -SEVERITIES.index(one.severity),
            -one.objects.at_least,
            -len(one.findings),
            one.opened_at,
            one.incident_id,
        ),
    )


def because(links: Sequence[Mapping[str, Any]]) -> str:
    """Why findings are one incident, at the end of a sentence; the links that join most are named."""
    most = sorted(links, key=lambda one: (-len(one["between"]), one["kind"], one["what"]))
    told = [str(one["why"]) for one in most[:BECAUSE]]
    more = f" and {counted(len(most) - BECAUSE, 'more reason')}" if len(most) > BECAUSE else ""
    return f"; one incident because of {', '.join(told)}{more}" if told else ""


def _moment(finding: Finding) -> dict[str, Any]:
    return {
        "at": iso(finding.opened_at),
        "until": iso(finding.last_at),
        "finding_id": finding.finding_id,
        "rule_id": finding.rule_id,
        "severity": finding.severity,
        "group": finding.group,
        "explanation": finding.explanation,
    }


def _named(finding: Finding, level: str) -> set[str]:
    who, evidence = finding.principal or {}, finding.evidence
    if level in ("sessions", "roles", "accounts"):
        one = who.get(level[:-1]) or finding.group.get(level[:-1])
        return {str(one)} if one else set(map(str, evidence.get(level) or ()))
    if level == "people":
        known = (who.get("source_identity"), who.get("identity_center_user"), finding.group.get("person"))
        return {str(one) for one in known if one}
    return set(map(str, evidence.get(level) or ()))


def _is_cut(finding: Finding, level: str) -> bool:
    """Whether a finding may have seen more of these than it shows."""
    told = level in ("sessions", "roles", "accounts") and (finding.principal or {}).get(level[:-1])
    return not told and len(finding.evidence.get(level) or ()) >= LIST_LIMIT
