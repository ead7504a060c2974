"""Which alerts are news, and which belong to an incident that somebody was told of already. Pure.

Rules of this file
- What joins findings says `core.links`. Of who else came the same way the daemon has seen what it has seen: as long as
  that is less than an hour before, a network joins nobody.
- The first alert of an incident pages. Further findings that join it do not; but the incident is told anew, in an
  alert of its own, when its findings, roles, accounts, buckets or rules have doubled since it was last told, or its
  worst peak has, when it has become more severe, when nothing of it was open any more, or a day has passed.
- If nobody was told (a digest took the first alert, or it was withdrawn) the next finding pages like a first one. So
  does whatever is in doubt: an incident that is full, one that was forgotten.
- Every alert is in the journal and goes to every sink that only keeps alerts, paged or not.
- Everything depends on what came in which order; nothing on chance. The state is in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from detector.core.access import AccessBatch
from detector.core.episode import CLOSED, OPENED, UPDATED, WITHDRAWN
from detector.core.finding import LIST_LIMIT, SEVERITIES, Finding
from detector.core.incident import SCHEMA, WHY, because, incident_id
from detector.core.links import DAY, HOUR, SHARED, WITHIN, Key, Trace, asked, trace
from detector.core.part import Spilling
from detector.core.times import iso
from detector.core.ways import Chains, Crowd
from detector.errors import StateError

PART = "incident/"
RULE = "bucketwatch.incident"
MOST_MEMBERS = 1_000
MOST_KEYS = 10_000
"""Of an incident; whoever would come after is not of it."""
MOST_OPEN = 5_000
"""Incidents that are known; the one that was silent for the longest time goes first."""
KNOWN_BEFORE = HOUR
SEEN = 2 * DAY
"""Seconds behind event time for which it is known who came which way."""
GROWING = ("findings", "roles", "accounts", "buckets", "rules")
TEXT = 300
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
    was told in an alert of its own.
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

    def counts(self) -> dict[str, int]:
        """How many of what there are."""
        return {name: len(names) for name, names in self.names.items()} | {"findings": len(self.members)}


@dataclass(frozen=True, slots=True)
class Joining:
    """What becomes of an alert. pages: whether those who are paged get it. fields: what it says of its incident.

    update: an alert about the incident, due with it.
    """

    pages: bool
    fields: Mapping[str, Any] = field(default_factory=dict)
    incident: str = ""
    update: dict[str, Any] | None = None


class Incidents:
    """Open incidents. Times of findings in epoch seconds of event time; `now` of the clock."""

    def __init__(self) -> None:
        self.open: dict[str, Open] = {}
        self.crowd, self.chains = Crowd(), Chains()
        self._since: int | None = None
        self._forgotten = 0
        self._by_key: dict[str, dict[str, None]] = {}
        self._of_alert: dict[str, str] = {}
        self._dirty: set[str] = set()
        self._gone: set[str] = set()
        self._came: dict[Key, frozenset[int]] = {}

    def meet(self, events: AccessBatch) -> None:
        """Take note of where a turn's events came from, and of sessions that were begun."""
        self._came = {}
        if len(events):
            if self._since is None:
                self._since = int(events.time.min())
                self._dirty.add("")
            self.crowd.meet(events)
            self.chains.meet(events)

    def take(self, finding: Finding, now: int) -> Joining:
        """What becomes of a finding's alert that would page."""
        if finding.state == OPENED and finding.alert_ids[0] not in self._of_alert:
            return self._joined(finding, now)
        known = {self._of_alert[one] for one in finding.alert_ids if one in self._of_alert}
        if not known:
            return Joining(pages=True)
        one = self.open[min(known)]
        return self._followed(one, finding, now)

    def paged(self, joining: Joining, alert_id: str, now: int) -> None:
        """An alert went out by itself to those who are paged."""
        one = self.open.get(joining.incident)
        if one is not None and alert_id in one.members:
            one.members[alert_id].paged = True
            self._tell(one, now)

    def forget_before(self, second: int) -> None:
        """Event time has passed this second: let go of what nothing can join any more."""
        for one in list(self.open.values()):
            lasting = WITHIN["copy"] if any(text.startswith("copied ") for text in one.keys) else DAY
            if one.last + lasting < second and all(member.over for member in one.members.values()):
                self._drop(one)
        while len(self.open) > MOST_OPEN:
            self._drop(min(self.open.values(), key=lambda one: (one.last, one.id)))
        if second // HOUR != self._forgotten:
            self._forgotten = second // HOUR
            self.crowd.forget_before(second - SEEN)
            self.chains.forget_before(second - SEEN)

    def spilling(self) -> list[Spilling]:
        """What may leave memory."""
        return [*self.crowd.spilling(), *self.chains.spilling()]

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        parts: dict[str, bytes | None] = {PART + name: None for name in self._gone}
        parts |= {PART + name: msgspec.msgpack.encode(self.open[name]) for name in self._dirty if name in self.open}
        if "" in self._dirty:
            parts["incidents"] = msgspec.msgpack.encode(self._since)
        self._dirty, self._gone = set(), set()
        return parts | self.crowd.changes() | self.chains.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint. Raises StateError."""
        try:
            if "incidents" in parts:
                self._since = msgspec.msgpack.decode(parts["incidents"], type=int | None)
            for name in sorted(name for name in parts if name.startswith(PART)):
                self._put(msgspec.msgpack.decode(parts[name], type=Open))
        except msgspec.MsgspecError as error:
            remedy = "run the version that wrote it"
            raise StateError("the checkpoint's incidents cannot be read", remedy=remedy) from error
        self._dirty = set()
        self.crowd.restore(parts)
        self.chains.restore(parts)

    # --- how findings join

    def _joined(self, finding: Finding, now: int) -> Joining:
        """A finding that has just opened: of which incident it is."""
        seen = trace(finding, self.chains.callers)
        found = self._linked(seen)
        one, links = self._merged(found)
        one = one or Open(incident_id(finding.finding_id), seen.first, seen.last, finding.opened_at)
        alone = not one.members
        if one.id in self.open and alone:  # the same finding once more, after it was forgotten
            return Joining(pages=True)
        quiet = not alone and all(member.over for member in one.members.values())
        self._add(one, finding, seen, links)
        if alone or not one.told.at:
            return Joining(pages=True, fields=_fields(one, links), incident=one.id)
        update = self._update(one, now, reopened=quiet)
        return Joining(pages=False, fields=_fields(one, links) | {"paged": False}, incident=one.id, update=update)

    def _followed(self, one: Open, finding: Finding, now: int) -> Joining:
        """A finding that is known: the way its opening went."""
        mine = [one.members[name] for name in finding.alert_ids if name in one.members]
        pages = any(member.paged for member in mine)
        self._dirty.add(one.id)
        for member in mine:
            member.over = finding.state in (CLOSED, WITHDRAWN)
        one.last, one.worst = max(one.last, finding.last_at), max(one.worst, _excess(finding))
        one.severity = max(one.severity, SEVERITIES.index(finding.severity))
        fields = _fields(one, ()) | ({} if pages else {"paged": False})
        left = [member for member in one.members.values() if not member.over]
        update = None
        if finding.state == WITHDRAWN and pages and not any(member.paged for member in left):
            one.told = Told()  # whoever was paged believes that it is over
            update = self._made(one, now, UPDATED) if left else None
        elif finding.state == UPDATED and not pages:
            update = self._update(one, now)
        elif finding.state == CLOSED and one.updates and not left:
            update = self._made(one, now, CLOSED)
        goes_on = finding.state in (OPENED, UPDATED) and not one.told.at
        return Joining(pages or not one.told.at, fields, one.id if goes_on else "", update)

    def _linked(self, seen: Trace) -> dict[str, list[Key]]:
        """Incidents that a finding joins, and by what."""
        found: dict[str, list[Key]] = {}
        copied = {Key("copy", bucket): f"read {bucket}" for bucket in seen.copied}
        copied |= {Key("copy", bucket): f"copied {bucket}" for bucket in seen.read}
        looked = {key: _text(key) for key in sorted(seen.keys)} | copied
        for key, text in looked.items():
            near = [
                self.open[name] for name in self._by_key.get(text, ()) if self._near(self.open[name], text, key, seen)
            ]
            near = [one for one in near if len(one.members) < MOST_MEMBERS and len(one.keys) < MOST_KEYS]
            if near and (key.kind not in SHARED or self._hardly_shared(key, near, seen)):
                for one in near:
                    found.setdefault(one.id, []).append(key)
        return found

    def _near(self, one: Open, text: str, key: Key, seen: Trace) -> bool:
        first, last = one.keys[text]
        if text.startswith("copied ") and seen.last < first:
            return False
        if text.startswith("read ") and last < seen.first:
            return False
        return seen.first - last <= WITHIN[key.kind] and first - seen.last <= WITHIN[key.kind]

    def _hardly_shared(self, key: Key, near: Sequence[Open], seen: Trace) -> bool:
        """Whether a network or a session may join, as `links` says it; what is not known does not."""
        text = _text(key)
        if key in seen.own or any(text in one.own for one in near):
            return key.kind != "chain" or key not in seen.own or any(text not in one.own for one in near)
        first = min([seen.first, *(one.keys[text][0] for one in near)])
        if self._since is None or (key.kind == "network" and first - self._since < KNOWN_BEFORE):
            return False
        if key not in self._came:
            question = asked(key, first, max([seen.last, *(one.keys[text][1] for one in near)]))
            self._came[key] = (self.crowd if key.kind == "network" else self.chains).came(question)
        came = self._came[key]
        found = came & seen.sessions.union(*(one.sessions for one in near))
        return 0 < len(came) <= 2 * len(found)

    def _merged(self, found: Mapping[str, Sequence[Key]]) -> tuple[Open | None, list[Key]]:
        """Of several incidents the one that began first, which takes in the others."""
        some = sorted((self.open[name] for name in found), key=lambda one: (one.opened_at, one.id))
        links = sorted({key for keys in found.values() for key in keys})
        if not some:
            return None, []
        first, *others = some
        for other in others:
            self._drop(other)
            _take_in(first, other)
        self._put(first)
        return first, links

    def _add(self, one: Open, finding: Finding, seen: Trace, links: Iterable[Key]) -> None:
        one.members[finding.alert_ids[0]] = Member()
        one.first, one.last = min(one.first, seen.first), max(one.last, seen.last)
        one.severity = max(one.severity, SEVERITIES.index(finding.severity))
        one.worst = max(one.worst, _excess(finding))
        texts = [*map(_text, seen.keys), *(f"copied {name}" for name in seen.copied), *(f"read {b}" for b in seen.read)]
        for text in texts:
            first, last = one.keys.get(text, (seen.first, seen.last))
            one.keys[text] = (min(first, seen.first), max(last, seen.last))
        one.own = sorted({*one.own, *map(_text, seen.own)})
        one.sessions = sorted({*one.sessions, *seen.sessions})
        for key in links:
            one.links[_text(key)] = one.links.get(_text(key), 1) + 1
        for name, what in _names(finding).items():
            one.names[name] = sorted({*one.names.get(name, ()), *what})
        self._put(one)

    def _put(self, one: Open) -> None:
        self.open[one.id] = one
        self._gone.discard(one.id)
        self._dirty.add(one.id)
        for text in one.keys:
            self._by_key.setdefault(text, {})[one.id] = None
        self._of_alert |= dict.fromkeys(one.members, one.id)

    def _drop(self, one: Open) -> None:
        del self.open[one.id]
        self._gone.add(one.id)
        for text in one.keys:
            del self._by_key[text][one.id]
            if not self._by_key[text]:
                del self._by_key[text]
        for alert in one.members:
            del self._of_alert[alert]

    # --- when it is told again

    def _tell(self, one: Open, now: int) -> None:
        one.told = Told(now, one.severity, one.worst, one.counts())
        self._dirty.add(one.id)

    def _update(self, one: Open, now: int, *, reopened: bool = False) -> dict[str, Any] | None:
        """The alert about an incident that is due, if one is."""
        told, counts = one.told, one.counts()
        grown = any(counts.get(name, 0) >= 2 * max(told.counts.get(name, 0), 1) for name in GROWING)
        worse = one.severity > told.severity or one.worst >= 2 * told.worst > 0
        due = grown or worse or reopened or now - told.at >= DAY
        return self._made(one, now, UPDATED) if due else None

    def _made(self, one: Open, now: int, state: str) -> dict[str, Any]:
        """An alert about an incident as a whole."""
        before = one.told
        one.updates += 1
        self._tell(one, now)
        alert_ids = list(one.members)
        most = sorted(one.links.items(), key=lambda link: (-link[1], link[0]))[:LIST_LIMIT]
        links = [{"kind": _key(text).kind, "what": _key(text).what[:TEXT], "findings": n} for text, n in most]
        counts = one.counts()
        plan = f"bucketwatch respond plan {one.id}: one plan against all sessions of this incident"
        return {
            "schema": SCHEMA,
            "alert_id": one.id,
            "incident_id": one.id,
            "rule_id": RULE,
            "title": f"{counts['findings']:,} findings are one incident",
            "kind": "incident",
            "severity": SEVERITIES[one.severity],
            "state": state,
            "opened_at": iso(one.opened_at),
            "last_at": iso(one.last),
            "sent_at": iso(now),
            "group": {"first alert": alert_ids[0]},
            "principal": None,
            "explanation": _explained(one, before, state),
            "runbook": RUNBOOK,
            "plan": {"commands": [], "steps": [plan]} if state != CLOSED else None,
            "incident": {
                "findings": counts["findings"],
                "open": sum(not member.over for member in one.members.values()),
                "alert_ids": alert_ids[:100],
                "links": links,
            }
            | {name: {"count": len(names), "shown": names[:LIST_LIMIT]} for name, names in sorted(one.names.items())},
        }


def _fields(one: Open, links: Iterable[Key]) -> dict[str, Any]:
    """What a finding's alert says of its incident."""
    because_of = [{"kind": key.kind, "what": key.what[:TEXT], "why": _why(key)} for key in links][:LIST_LIMIT]
    joined = {"findings": len(one.members), "first_alert": next(iter(one.members)), "links": because_of}
    return {"incident_id": one.id, "incident": joined}


def _why(key: Key) -> str:
    return WHY[key.kind].format(key.what[:TEXT])


def _explained(one: Open, before: Told, state: str) -> str:
    counts = one.counts()
    names = ("sessions", "roles", "accounts", "buckets", "rules")
    told = ", ".join(f"{counts[n]:,} {n if counts[n] != 1 else n[:-1]}" for n in names if counts.get(n))
    grown = {n: counts[n] - before.counts.get(n, 0) for n in ("findings", *names) if counts.get(n)}
    news = ", ".join(f"{count:,} {name}" for name, count in grown.items() if count > 0) if before.at else ""
    links = [{"kind": _key(text).kind, "what": _key(text).what, "why": _why(_key(text)), "between": [0] * n}
             for text, n in one.links.items()]  # fmt: skip
    over = " All of them are over." if state == CLOSED else ""
    since = f" New since this was last told: {news}." if news and state != CLOSED else ""
    span = f"from {iso(one.opened_at)} to {iso(one.last)}"
    return f"{counts['findings']:,} findings ({told}) {span}{because(links)}.{since}{over}"


def _take_in(one: Open, other: Open) -> None:
    """Two incidents turn out to be one."""
    one.first, one.last = min(one.first, other.first), max(one.last, other.last)
    one.severity, one.worst = max(one.severity, other.severity), max(one.worst, other.worst)
    one.members |= other.members
    for text, (first, last) in other.keys.items():
        mine = one.keys.get(text, (first, last))
        one.keys[text] = (min(mine[0], first), max(mine[1], last))
    for name, what in other.names.items():
        one.names[name] = sorted({*one.names.get(name, ()), *what})
    one.own, one.sessions = sorted({*one.own, *other.own}), sorted({*one.sessions, *other.sessions})
    one.links = {text: max(one.links.get(text, 0), other.links.get(text, 0)) for text in {**one.links, **other.links}}
    one.updates += other.updates
    if other.told.at and one.told.at:  # whoever was paged knows of both
        counts = {name: max(n, other.told.counts.get(name, 0)) for name, n in one.told.counts.items()}
        one.told = Told(
            min(one.told.at, other.told.at), max(one.told.severity, other.told.severity),
            max(one.told.worst, other.told.worst), counts,
        )  # fmt: skip
    one.told = one.told if one.told.at else other.told


def _names(finding: Finding) -> dict[str, set[str]]:
    """What an incident names of a finding."""
    who, evidence = finding.principal or {}, finding.evidence
    found = {
        name: {str(one)[:TEXT] for one in (who.get(name[:-1]),) if one} for name in ("sessions", "roles", "accounts")
    }
    found |= {"buckets": {str(one)[:TEXT] for one in evidence.get("buckets") or ()}, "rules": {finding.rule_id}}
    return {name: what for name, what in found.items() if what}


def _excess(finding: Finding) -> float:
    """How far past its threshold."""
    return finding.peak_value / finding.threshold if finding.threshold > 0 else float(finding.peak_value)


def _text(key: Key) -> str:
    return f"{key.kind} {key.what}"


def _key(text: str) -> Key:
    kind, _, what = text.partition(" ")
    kind = "copy" if kind in ("copied", "read") else kind
    return Key(kind, what)  # type: ignore[arg-type]  # it was made by `_text`
