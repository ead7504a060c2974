"""Which alerts are news, and which belong to an incident that somebody was told of already. Pure.

Rules of this file
- What joins findings says `core.links`; what an incident is so far, and when that is news, `core.ongoing`. Of who else
  came the same way the daemon has seen what it has seen: as long as that is less than an hour before, a network joins
  nobody.
- The first alert of an incident pages. Further findings that join it do not; but the incident is told anew, in an
  alert of its own, when its findings, roles, accounts, buckets or rules have doubled since it was last told, or its
  worst peak has, when it has become more severe, when nothing of it was open any more, or a day has passed.
- If nobody was told (a digest took the first alert, or it was withdrawn) the next finding pages like a first one. So
  does whatever is in doubt: an incident that is full, one that was forgotten.
- Every alert is in the journal and goes to every sink that only keeps alerts, paged or not.
- Everything depends on what came in which order; nothing on chance. The state is in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from detector.core.access import AccessBatch
from detector.core.episode import CLOSED, OPENED, UPDATED, WITHDRAWN
from detector.core.finding import SEVERITIES, Finding
from detector.core.links import DAY, HOUR, SHARED, WITHIN, Key, Trace, asked, few_others, trace
from detector.core.ongoing import Open, Told, begun, text_of
from detector.core.owner import Owners
from detector.core.part import Spilling
from detector.core.ways import Chains, Crowd
from detector.errors import StateError

PART = "incident/"
MOST_MEMBERS = 1_000
MOST_KEYS = 10_000
"""Of an incident; whoever would come after is not of it."""
MOST_OPEN = 5_000
"""Incidents that are known; the one that was silent for the longest time goes first."""
KNOWN_BEFORE = HOUR
SEEN = 2 * DAY
"""Seconds behind event time for which it is known who came which way."""


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
    """Open incidents. Times of findings in epoch seconds of event time; `now` of the clock. owners: as keys tell."""

    def __init__(self, owners: Owners | None = None) -> None:
        self._owners = owners
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
            one.tell(now)
            self._dirty.add(one.id)

    def forget_before(self, second: int) -> None:
        """Event time has passed this second: let go of what nothing can join any more."""
        for one in [one for one in self.open.values() if one.last + DAY < second and one.over]:
            if one.last + WITHIN["copy"] < second or not any(text.startswith("copied ") for text in one.keys):
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
        new = begun(finding, seen)
        new.show(self._shown(finding))
        one, links = self._merged(self._linked(seen))
        if one is None and new.id in self.open:  # the same finding once more, after it was forgotten
            return Joining(pages=True)
        quiet = one is not None and one.over
        if one is None:
            one = new
        else:
            one.take_in(new)
        for text in map(text_of, links):
            one.links[text] = one.links.get(text, 1) + 1
        self._put(one)
        if not one.told.at:
            return Joining(pages=True, fields=one.fields(links), incident=one.id)
        update = one.alert(now, UPDATED) if quiet or one.is_news(now) else None
        return Joining(pages=False, fields=one.fields(links) | {"paged": False}, incident=one.id, update=update)

    def _followed(self, one: Open, finding: Finding, now: int) -> Joining:
        """A finding that is known: the way its opening went."""
        mine = [one.members[name] for name in finding.alert_ids if name in one.members]
        pages = any(member.paged for member in mine)
        self._dirty.add(one.id)
        for member in mine:
            member.over = finding.state in (CLOSED, WITHDRAWN)
        one.last, one.worst = max(one.last, finding.last_at), max(one.worst, finding.excess)
        one.show(self._shown(finding))
        one.severity = max(one.severity, SEVERITIES.index(finding.severity))
        fields = one.fields() | ({} if pages else {"paged": False})
        left = [member for member in one.members.values() if not member.over]
        update = None
        if finding.state == WITHDRAWN and pages and not any(member.paged for member in left):
            one.told = Told()  # whoever was paged believes that it is over
            update = one.alert(now, UPDATED) if left else None
        elif finding.state == UPDATED and not pages:
            update = one.alert(now, UPDATED) if one.is_news(now) else None
        elif finding.state == CLOSED and one.updates and not left:
            update = one.alert(now, CLOSED)
        goes_on = finding.state in (OPENED, UPDATED) and not one.told.at
        return Joining(pages or not one.told.at, fields, one.id if goes_on else "", update)

    def _shown(self, finding: Finding) -> set[str] | None:
        return None if self._owners is None else self._owners.of_evidence(finding.evidence)

    def _linked(self, seen: Trace) -> dict[str, list[Key]]:
        """Incidents that a finding joins, and by what."""
        found: dict[str, list[Key]] = {}
        copied = {Key("copy", bucket): f"read {bucket}" for bucket in seen.copied}
        copied |= {Key("copy", bucket): f"copied {bucket}" for bucket in seen.read}
        looked = {key: text_of(key) for key in sorted(seen.keys)} | copied
        for key, text in looked.items():
            known = [self.open[name] for name in self._by_key.get(text, ())]
            near = [one for one in known if _has_room(one) and _is_near(one, text, key, seen)]
            if near and (key.kind not in SHARED or self._hardly_shared(key, near, seen)):
                for one in near:
                    found.setdefault(one.id, []).append(key)
        return found

    def _hardly_shared(self, key: Key, near: Sequence[Open], seen: Trace) -> bool:
        """Whether a network or a session may join, as `links` says it; what is not known does not."""
        text = text_of(key)
        if key in seen.own or any(text in one.own for one in near):
            return key.kind != "chain" or key not in seen.own or any(text not in one.own for one in near)
        first = min([seen.first, *(one.keys[text][0] for one in near)])
        if self._since is None or (key.kind == "network" and first - self._since < KNOWN_BEFORE):
            return False
        if key not in self._came:
            question = asked(key, first, max([seen.last, *(one.keys[text][1] for one in near)]))
            self._came[key] = (self.crowd if key.kind == "network" else self.chains).came(question)
        return few_others(self._came[key], [seen.sessions, *(one.sessions for one in near)])

    def _merged(self, found: Mapping[str, Sequence[Key]]) -> tuple[Open | None, list[Key]]:
        """Of several incidents the one that began first, which takes in the others."""
        some = sorted((self.open[name] for name in found), key=lambda one: (one.opened_at, one.id))
        links = sorted({key for keys in found.values() for key in keys})
        if not some:
            return None, []
        first, *others = some
        for other in others:
            self._drop(other)
            first.take_in(other)
        return first, links

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


def _has_room(one: Open) -> bool:
    return len(one.members) < MOST_MEMBERS and len(one.keys) < MOST_KEYS


def _is_near(one: Open, text: str, key: Key, seen: Trace) -> bool:
    first, last = one.keys[text]
    if text.startswith("copied ") and seen.last < first:
        return False
    if text.startswith("read ") and last < seen.first:
        return False
    return seen.first - last <= WITHIN[key.kind] and first - seen.last <= WITHIN[key.kind]
