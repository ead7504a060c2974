"""An incident that goes on: what it is so far, when that is news, and how it is told. Pure.

What joins findings says `links`; which of them do, as they come, `detector.incidents` keeps track of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from detector.core.amounts import counted, people
from detector.core.episode import CLOSED
from detector.core.finding import LIST_LIMIT, SEVERITIES, Finding
from detector.core.incident import SCHEMA, WHY, because, incident_id
from detector.core.links import DAY, Key, Trace
from detector.core.times import iso

RULE = "bucketwatch.incident"
GROWING = ("findings", "roles", "accounts", "buckets", "rules")
TEXT = 300
MOST_OWNERS = 1_000
"""Whose objects an incident keeps by name."""
RUNBOOK = (
    "The findings are one incident as far as can be seen; each is in the journal, and in every sink that keeps alerts, "
    "under its own alert_id. 1. Begin with the first alert. 2. `bucketwatch respond plan` with this incident's id "
    "makes one plan against all its sessions. 3. Look at the links: if one joins what does not belong together, treat "
    "the findings apart."
)


class Member(msgspec.Struct):
    """A finding in an incident. paged: its own alert went to those who are paged. over: it is closed or withdrawn."""

    paged: bool = False
    over: bool = False


class Told(msgspec.Struct):
    """What an incident was when somebody was last told. severity: place in SEVERITIES. at: epoch seconds; 0: never."""

    at: int = 0
    severity: int = -1
    worst: float = 0.0
    counts: dict[str, int] = msgspec.field(default_factory=dict)


class Open(msgspec.Struct):
    """An incident. first, last: of its records (epoch seconds). worst: how far past its threshold a finding was.

    keys: of `links`, as text, each with first and last. links: key → how many findings it joined. updates: how often it
    was told in an alert of its own. owners: whose objects its findings' evidence shows; None: the operator does not say
    how keys tell.
    """

    id: str
    first: int
    last: int
    opened_at: int
    severity: int = 0
    worst: float = 0.0
    members: dict[str, Member] = msgspec.field(default_factory=dict)
    names: dict[str, list[str]] = msgspec.field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    own: list[str] = msgspec.field(default_factory=list)
    sessions: list[int] = msgspec.field(default_factory=list)
    links: dict[str, int] = msgspec.field(default_factory=dict)
    told: Told = msgspec.field(default_factory=Told)
    updates: int = 0
    owners: list[str] | None = None

    @property
    def over(self) -> bool:
        """Whether all its findings are."""
        return all(member.over for member in self.members.values())

    def counts(self) -> dict[str, int]:
        """How many of what there are."""
        return {name: len(names) for name, names in self.names.items()} | {"findings": len(self.members)}

    def take_in(self, other: Open) -> None:
        """Two incidents turn out to be one."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.severity, self.worst = max(self.severity, other.severity), max(self.worst, other.worst)
        self.members |= other.members
        for text, (first, last) in other.keys.items():
            mine = self.keys.get(text, (first, last))
            self.keys[text] = (min(mine[0], first), max(mine[1], last))
        for name, what in other.names.items():
            self.names[name] = sorted({*self.names.get(name, ()), *what})
        self.own, self.sessions = sorted({*self.own, *other.own}), sorted({*self.sessions, *other.sessions})
        for text, joined in other.links.items():
            self.links[text] = max(self.links.get(text, 0), joined)
        self.updates += other.updates
        self.show(other.owners)
        self.told = _both(self.told, other.told)

    def show(self, owners: Iterable[str] | None) -> None:
        """Evidence shows objects of these people."""
        if owners is not None:
            self.owners = sorted({*(self.owners or ()), *(one[:TEXT] for one in owners)})[:MOST_OWNERS]

    def is_news(self, now: int) -> bool:
        """Whether it is so much more than when it was last told, or that so long ago, that it is told anew."""
        told, counts = self.told, self.counts()
        grown = any(counts.get(name, 0) >= 2 * max(told.counts.get(name, 0), 1) for name in GROWING)
        worse = self.severity > told.severity or self.worst >= 2 * told.worst > 0
        return grown or worse or now - told.at >= DAY

    def tell(self, now: int) -> None:
        """Somebody is told of it as it is."""
        self.told = Told(now, self.severity, self.worst, self.counts())

    def alert(self, now: int, state: str) -> dict[str, Any]:
        """Tell of it in an alert of its own."""
        explanation = _explained(self, state)
        self.updates += 1
        self.tell(now)
        alert_ids, counts = list(self.members), self.told.counts
        most = sorted(self.links.items(), key=lambda link: (-link[1], link[0]))[:LIST_LIMIT]
        links = [{"kind": key_of(text).kind, "what": key_of(text).what[:TEXT], "findings": n} for text, n in most]
        plan = f"bucketwatch respond plan {self.id}: one plan against all sessions of this incident"
        return {
            "schema": SCHEMA,
            "alert_id": self.id,
            "incident_id": self.id,
            "rule_id": RULE,
            "title": f"{counts['findings']:,} findings are one incident",
            "kind": "incident",
            "severity": SEVERITIES[self.severity],
            "state": state,
            "opened_at": iso(self.opened_at),
            "last_at": iso(self.last),
            "sent_at": iso(now),
            "group": {"first alert": alert_ids[0]},
            "principal": None,
            "explanation": explanation,
            "runbook": RUNBOOK,
            "plan": {"commands": [], "steps": [plan]} if state != CLOSED else None,
            "incident": {
                "findings": counts["findings"],
                "open": sum(not member.over for member in self.members.values()),
                "alert_ids": alert_ids[:100],
                "links": links,
            }
            | {name: {"count": len(names), "shown": names[:LIST_LIMIT]} for name, names in sorted(self.names.items())}
            | ({} if self.owners is None else {"owners": _at_least(self.owners)}),
        }

    def fields(self, links: Iterable[Key] = ()) -> dict[str, Any]:
        """What a finding's alert says of its incident."""
        because_of = [{"kind": key.kind, "what": key.what[:TEXT], "why": _why(key)} for key in links][:LIST_LIMIT]
        joined = {"findings": len(self.members), "first_alert": next(iter(self.members)), "links": because_of}
        return {"incident_id": self.id, "incident": joined}


def begun(finding: Finding, seen: Trace) -> Open:
    """The incident of one finding."""
    keys = [*map(text_of, seen.keys), *(f"copied {name}" for name in seen.copied), *(f"read {b}" for b in seen.read)]
    return Open(
        incident_id(finding.finding_id),
        seen.first,
        seen.last,
        finding.opened_at,
        severity=SEVERITIES.index(finding.severity),
        worst=finding.excess,
        members={finding.alert_ids[0]: Member()},
        names=_names(finding),
        keys=dict.fromkeys(keys, (seen.first, seen.last)),
        own=sorted(map(text_of, seen.own)),
        sessions=sorted(seen.sessions),
    )


def text_of(key: Key) -> str:
    """A key as text."""
    return f"{key.kind} {key.what}"


def key_of(text: str) -> Key:
    """The key that a text stands for."""
    kind, _, what = text.partition(" ")
    kind = "copy" if kind in ("copied", "read") else kind
    return Key(kind, what)  # type: ignore[arg-type]  # it was made by `text_of`


def _both(told: Told, other: Told) -> Told:
    """What was told of two incidents, of either or of both: then whoever was paged knows of both."""
    if not (told.at and other.at):
        return told if told.at else other
    counts = {name: max(n, other.counts.get(name, 0)) for name, n in told.counts.items()}
    return Told(min(told.at, other.at), max(told.severity, other.severity), max(told.worst, other.worst), counts)


def _names(finding: Finding) -> dict[str, list[str]]:
    """What an incident names of a finding."""
    who, evidence = finding.principal or {}, finding.evidence
    found = {
        name: {str(one)[:TEXT] for one in (who.get(name[:-1]),) if one} for name in ("sessions", "roles", "accounts")
    }
    found |= {"buckets": {str(one)[:TEXT] for one in evidence.get("buckets") or ()}, "rules": {finding.rule_id}}
    return {name: sorted(what) for name, what in found.items() if what}


def _at_least(owners: list[str]) -> dict[str, Any]:
    return {"count": len(owners), "shown": owners[:LIST_LIMIT], "at_least": True}


def _why(key: Key) -> str:
    return WHY[key.kind].format(key.what[:TEXT])


def _explained(one: Open, state: str) -> str:
    """What it is, and what of it is new since it was last told."""
    counts, before = one.counts(), one.told
    names = ("sessions", "roles", "accounts", "buckets", "rules")
    whose = f"; objects of at least {people(len(one.owners))}" if one.owners else ""
    told = ", ".join(counted(counts[n], n[:-1]) for n in names if counts.get(n))
    grown = {n: counts[n] - before.counts.get(n, 0) for n in ("findings", *names) if counts.get(n)}
    news = ", ".join(f"{count:,} {name}" for name, count in grown.items() if count > 0) if before.at else ""
    links = [{"kind": key_of(text).kind, "what": key_of(text).what, "why": _why(key_of(text)), "between": [0] * n}
             for text, n in one.links.items()]  # fmt: skip
    over = " All of them are over." if state == CLOSED else ""
    since = f" New since this was last told: {news}." if news and state != CLOSED else ""
    span = f"from {iso(one.opened_at)} to {iso(one.last)}"
    return f"{counts['findings']:,} findings ({told}{whose}) {span}{because(links)}.{since}{over}"
