"""The outbox: what is still to be journalled, published and carried out. It is part of every checkpoint.

Entries are numbered when they are made, written to the journal in that order, and stay here until every sink has the
alert and the response is settled; so whatever a crash interrupts is done after it. What an edge refuses stays and is
tried again, at growing intervals. How entries lie in a checkpoint: `detector.spool`. Which alerts go out by themselves:
`detector.storm`. When a failing sink is an alarm: `detector.outage`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.casework import Casework
from detector.core.episode import OPENED
from detector.core.owner import Owners
from detector.core.times import iso
from detector.drain import Drain, Hurry
from detector.edges import Edges
from detector.errors import EdgeError
from detector.hourly import Hourly
from detector.incidents import Incidents, Joining
from detector.outage import Failing, Outages
from detector.source import Sink
from detector.spool import Entry, Spool
from detector.storm import STORM, Limits, Storm

LONGEST_PAUSE = 60.0
"""Seconds between attempts at what keeps failing, at most."""
REFUSALS = 3
"""Alerts a sink may refuse in one turn before the others wait for the next turn."""
AT_ONCE = 200
"""Alerts a sink gets in one turn, at most: a long backlog must not keep the loop from reading."""
CROWDED = 10_000
"""Alerts that wait, from which on a finding is told by itself only if it is the first of its kind."""
SINK_DOWN_AFTER = 600
WAYS_MEMORY = 16 << 20
"""Bytes in memory of each table of who came which way."""
REVOCATIONS = 10
"""Carried out in any hour without a person, at most."""
VERIFY_AFTER = 300
RESPONDER = "responder"

Say = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Sending:
    """How alerts are sent. sink_down_after: seconds of failure after which a sink is an alarm.

    revocations: carried out in any hour, at most. verify_after: seconds after which a revoked session's success is
    told. owners: how keys tell whose objects they are, for incidents.
    """

    storm: Limits = STORM
    sink_down_after: int = SINK_DOWN_AFTER
    revocations: int = REVOCATIONS
    verify_after: int = VERIFY_AFTER
    owners: Owners | None = None


class Outbox:
    """Entries and where they go. `unsaved`: something changed since the last checkpoint. `counts`: see `metrics`.

    max_age: seconds after its last record for which a finding may be answered without a person. clock: epoch seconds.
    """

    def __init__(
        self,
        edges: Edges,
        max_age: int,
        sending: Sending = Sending(),
        *,
        say: Say,
        clock: Callable[[], float],
        drain: Drain,
    ) -> None:
        self.edges, self.drain = edges, drain
        self._say, self._clock = say, clock
        self._paused: dict[tuple[str, str], tuple[float, float]] = {}
        self.seq = 0
        self.entries = Spool(edges.store)
        self.storm, self.incidents = Storm(sending.storm), Incidents(sending.owners)
        for one in self.incidents.spilling():
            one.lean_on(edges.store, WAYS_MEMORY)
        self.outages = Outages(sending.sink_down_after)
        self.hourly = Hourly(sending.revocations)
        self.casework = Casework(
            edges, max_age, self.hourly, sending.verify_after,
            note=self.note, alarm=self._tell_all, say=say, clock=clock, drain=drain,
        )  # fmt: skip
        self.unsaved = self._crowded = False
        self.counts: dict[str, float] = {}

    def take_up(
        self,
        seq: int,
        parts: Mapping[str, bytes],
        failing: dict[str, Failing],
        mark: int = 0,
        older: Sequence[Entry] = (),
    ) -> None:
        """Go on from a checkpoint. mark: the journal's. older: entries as earlier versions kept them."""
        self.seq = seq
        self.casework.restore(parts)
        self.incidents.restore(parts)
        self.entries.restore(parts, self._redirect)
        for entry in older:
            self._redirect(entry)
            self.entries.add(entry)
        names = {sink.name for sink in self.edges.sinks}
        self.outages.failing = {name: one for name, one in failing.items() if name in names}
        self.edges.journal.seek(mark)
        self._join_journal()

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self.entries.changes() | self.storm.changes() | self.incidents.changes() | self.casework.changes()

    def saved(self) -> None:
        """The changes are in a checkpoint."""
        self.unsaved = False
        self.entries.let_go()
        for one in self.incidents.spilling():
            one.let_go(WAYS_MEMORY)
        self._crowded = self.waiting() >= CROWDED

    def note(self, kind: str, body: dict[str, Any]) -> Entry:
        """A new numbered entry."""
        self.seq += 1
        entry = Entry(self.seq, iso(int(self._clock())), kind, body)
        self.entries.add(entry)
        self.unsaved = True
        return entry

    def page(self, entry: Entry, alert: dict[str, Any], joining: Joining) -> None:
        """Send an entry's alert to all sinks: by itself, or in its kind's digest if there are very many.

        If it belongs to an incident that was told, only to those that keep it; then the incident is told, if it is due.
        """
        alert["sequence"], now = entry.seq, int(self._clock())
        if not joining.pages:
            self._address(entry, alert, [sink for sink in self.edges.sinks if sink.keeps])
            self.count("alerts_joined", alert["state"] == OPENED)
        elif self.storm.offer(alert, entry.seq, now, crowded=self._crowded):
            self._address(entry, alert, self.edges.sinks)
            self.incidents.paged(joining, str(alert["alert_id"]), now)
        else:
            entry.body["grouped"] = True
            self.count("alerts_grouped")
        if joining.update is not None:
            self._tell_incident(joining.update)

    def _tell_incident(self, told: dict[str, Any]) -> None:
        entry = self.note("incident", told)
        self._say("incident", incident=told["incident_id"], state=told["state"], what=told["explanation"])
        self._address(entry, told | {"sequence": entry.seq}, self.edges.sinks)

    def tell_digests(self, *, everything: bool = False) -> None:
        """Send the digests that are due, or all there are."""
        for digest in self.storm.due(int(self._clock()), everything=everything):
            entry = self.note("digest", digest)
            self._say("digest", rule=digest["rule_id"], alert=digest["alert_id"], count=digest["digest"]["count"])
            self._address(entry, digest | {"sequence": entry.seq}, self.edges.sinks)

    def tell_daily(self, digest: dict[str, Any] | None, *, send: bool) -> None:
        """Journal the digest of a day, if there is one, and send it if that is wanted."""
        if digest is not None:
            entry = self.note("daily", digest)
            self._say("daily", day=digest["daily"]["day"], what=digest["explanation"])
            if send:
                self._address(entry, digest | {"sequence": entry.seq}, self.edges.sinks)

    def _address(self, entry: Entry, alert: dict[str, Any], sinks: Sequence[Sink]) -> None:
        entry.alert, entry.sinks = alert, [sink.name for sink in sinks]
        self.entries.touch(entry)

    def count(self, name: str, by: float = 1) -> None:
        """Add to a metric."""
        self.counts[name] = self.counts.get(name, 0) + by

    def waiting(self) -> int:
        """Alerts that not every sink has."""
        return self.entries.waiting()

    def age(self) -> float:
        """Seconds that the oldest alert that not every sink has has waited."""
        oldest = self.entries.oldest()
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def work_off(self, settle: Callable[[], None]) -> None:
        """Journal, publish and respond. `settle` makes durable what was done."""
        self._write_journal()
        for sink in self.edges.sinks:
            self._publish(sink)
        self._watch_sinks()
        for entry in list(self.entries):
            self._respond(entry, settle)
        if told := self.hourly.over(int(self._clock())):
            self._alarm("revocation_limit_over", told, self.edges.sinks)
        self._drop_done(settle)
        if any(not entry.journalled for entry in self.entries):
            self._write_journal()  # what came of the responses
            self._drop_done(settle)

    def _drop_done(self, settle: Callable[[], None]) -> None:
        if self.unsaved:
            self.entries.sweep()
            settle()

    def _join_journal(self) -> None:
        """Go on numbering where the journal ends, also if checkpoint or journal were lost or set back meanwhile.

        An entry under a number that the journal has given to another would be refused.
        """
        journal = self.edges.journal
        last = max(0, journal.head[0])
        fresh = [entry for entry in self.entries if not entry.journalled]
        wanted = [_line(entry) for entry in fresh]
        if not self.seq - len(fresh) <= last <= self.seq or not journal.agrees(wanted):
            known, self.seq = self.seq, last
            for entry in fresh:
                self.seq += 1
                entry.seq = self.seq
                self.entries.touch(entry)
            self._say("journal_changed", checkpoint=known, journal=last)
            self.note("journal_changed", {"last_in_checkpoint": known, "last_in_journal": last})
        if journal.recovered:
            self._say("journal_recovered", what=journal.recovered)
            self.note("journal_recovered", {"what": journal.recovered})

    def _redirect(self, entry: Entry) -> bool:
        """An alert waiting for a sink that is no longer configured goes to those that are."""
        names = [sink.name for sink in self.edges.sinks]
        kept = [name for name in entry.sinks if name in names]
        if len(kept) == len(entry.sinks):
            return False
        self._say("sink_gone", sinks=[name for name in entry.sinks if name not in names], instead=kept or names)
        entry.sinks = kept or list(names)
        return True

    def _write_journal(self) -> None:
        fresh = [entry for entry in self.entries if not entry.journalled]
        if fresh:
            self.edges.insist()
            self.edges.journal.append([_line(entry) for entry in fresh])
            self.unsaved = True
        for entry in fresh:
            entry.journalled = True
            if entry.plan is None:
                entry.body = {"alert_id": entry.alert_id}  # the rest is in the journal
            self.entries.touch(entry)

    def _publish(self, sink: Sink) -> None:
        """Send a sink what waits for it, oldest first.

        A sink that cannot be reached is left alone for a while. An alert that it refuses waits by itself, and later
        ones of the same alert id with it: one alert that can never be sent must not hold up the others.
        """
        if sent := self._send(sink):
            self.note("sent", {"sink": sink.name, "alerts": sent})

    def _send(self, sink: Sink) -> list[dict[str, Any]]:
        """What the sink took: which alert, in which state."""
        sent: list[dict[str, Any]] = []
        refused: set[str] = set()
        if self._is_paused(sink.name):
            return sent
        for entry in self.entries.waiting_for(sink.name):
            if self._is_paused(sink.name) or len(refused) == REFUSALS or len(sent) == AT_ONCE:
                break
            if entry.alert_id in refused or self._is_paused(sink.name, entry.alert_id):
                continue
            self.edges.insist()
            try:
                with self.drain.edge():
                    sink.send(entry.alert or {})
            except Hurry:
                return sent
            except EdgeError as error:
                self.count("alerts_failed")
                self._say("alert_failed", sink=sink.name, alert=entry.alert_id, error=str(error))
                self._pause(sink.name, "" if error.retryable else entry.alert_id)
                self.outages.failed(sink.name, str(error), int(self._clock()), refused=not error.retryable)
                if error.retryable:
                    break
                refused.add(entry.alert_id)
            else:
                self.count("alerts_sent")
                self._unpause(sink.name, "", entry.alert_id)
                entry.sinks.remove(sink.name)
                self.entries.touch(entry)
                sent.append({name: (entry.alert or {}).get(name) for name in ("alert_id", "state", "sequence")})
                self.unsaved = True
        return sent

    def _watch_sinks(self) -> None:
        """A sink that keeps failing is an alarm, through the others; so is its end, through all."""
        now, failing = int(self._clock()), {name for name, _ in self._paused}
        for sink in self.edges.sinks:
            if sink.name not in failing and (told := self.outages.ended(sink.name, now)):
                self._alarm("sink_up", told, self.edges.sinks)
        for told in self.outages.begun(now):
            self._alarm("sink_down", told, [sink for sink in self.edges.sinks if sink.name not in self.outages.down()])

    def _tell_all(self, kind: str, alarm: dict[str, Any]) -> None:
        self._alarm(kind, alarm, self.edges.sinks)

    def _alarm(self, kind: str, alarm: dict[str, Any], sinks: Sequence[Sink]) -> None:
        self._say(kind, **alarm["group"], why=alarm["explanation"])
        entry = self.note(kind, alarm)
        self._address(entry, alarm | {"sequence": entry.seq}, sinks)

    def _respond(self, entry: Entry, settle: Callable[[], None]) -> None:
        """Carry out an entry's plan. What fails is tried again until the finding is too old to act alone."""
        if entry.plan is None or self._is_paused(RESPONDER, case := str(entry.plan["case_id"])):
            return
        first = (RESPONDER, case) not in self._paused

        def settled() -> None:
            self.entries.touch(entry)
            settle()

        try:
            applied = self.casework.carry_out(entry, settled)
        except Hurry:
            return
        self._say("revocation", case=case, status=applied.status, detail=applied.detail)
        if first or applied.status != "failed":
            result = {"case_id": case, "status": applied.status, "detail": applied.detail, "plan": entry.plan}
            self.note("revocation", result)
        if applied.status == "failed":
            self._pause(RESPONDER, case)
            return
        self.count("revocations", applied.status == "applied")
        self._unpause(RESPONDER, case)
        entry.plan, self.unsaved = None, True
        self.entries.touch(entry)

    def _is_paused(self, name: str, what: str = "") -> bool:
        return self._clock() < self._paused.get((name, what), (0.0, 0.0))[0]

    def _pause(self, name: str, what: str = "") -> None:
        """Leave it alone for a while, twice as long each time."""
        pause = min(2 * self._paused.get((name, what), (0.0, 0.5))[1], LONGEST_PAUSE)
        self._paused[name, what] = (self._clock() + pause, pause)

    def _unpause(self, name: str, *what: str) -> None:
        for one in what:
            self._paused.pop((name, one), None)


def _line(entry: Entry) -> dict[str, Any]:
    """An entry as the journal gets it."""
    return {"seq": entry.seq, "time": entry.time, "kind": entry.kind, "body": entry.body}
