"""The outbox: what is still to be journalled, published and carried out. It is part of every checkpoint.

Entries are numbered when they are made, written to the journal in that order, and stay here until every sink has the
alert and the response is settled; so whatever a crash interrupts is done after it. What an edge refuses stays and is
tried again, at growing intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from detector.core.times import epoch, iso
from detector.errors import EdgeError, LeaseLostError
from detector.journal import Journal
from detector.source import Applied, Lease, Quarantine, Responder, Sink, Source, StateStore

LONGEST_PAUSE = 60.0
"""Seconds between attempts at what keeps failing, at most."""
REFUSALS = 3
"""Alerts a sink may refuse in one turn before the others wait for the next turn."""
RESPONDER = "responder"

Say = Callable[..., None]


@dataclass(slots=True)
class Entry:
    """One numbered thing to do after the checkpoint: always a journal entry; perhaps an alert, perhaps a response.

    `sinks`: names of sinks that have not got the alert yet. `plan`: a revocation still to be applied.
    """

    seq: int
    time: str
    kind: str
    body: dict[str, Any]
    journalled: bool = False
    alert: dict[str, Any] | None = None
    sinks: list[str] = field(default_factory=list)
    plan: dict[str, Any] | None = None

    @property
    def alert_id(self) -> str:
        """Of an entry about a finding; empty for others."""
        return str(self.body.get("alert_id", ""))

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.journalled and not self.sinks and self.plan is None


@dataclass(slots=True)
class Edges:
    """The world as the daemon sees it."""

    source: Source
    store: StateStore
    sinks: Sequence[Sink]
    journal: Journal
    responder: Responder | None = None
    lease: Lease | None = None
    quarantine: Quarantine | None = None

    def insist(self) -> None:
        """Before anything leaves the program. Raises LeaseLostError if another daemon may be at work by now."""
        if self.lease is not None and not self.lease.held():
            raise LeaseLostError(
                "this daemon has lost its lease: it does nothing further, and whoever has it now goes on",
                where=self.lease.other,
                remedy="start it again (a service does): it then waits for its turn. If nobody stopped or froze it, "
                "look whether the state could be reached",
            )


class Outbox:
    """Entries and where they go. `unsaved`: something changed since the last checkpoint. `counts`: see `metrics`.

    max_age: seconds after its last record for which a finding may be answered without a person. clock: epoch seconds.
    """

    def __init__(
        self,
        edges: Edges,
        max_age: int,
        *,
        say: Say,
        clock: Callable[[], float],
    ) -> None:
        self.edges, self.max_age = edges, max_age
        self._say, self._clock = say, clock
        self._paused: dict[tuple[str, str], tuple[float, float]] = {}
        self.seq = 0
        self.entries: list[Entry] = []
        self.unsaved = False
        self.counts: dict[str, float] = {}

    def take_up(self, seq: int, entries: list[Entry]) -> None:
        """Go on from a checkpoint."""
        self.seq, self.entries = seq, entries
        self._join_journal()
        self._redirect()

    def note(self, kind: str, body: dict[str, Any]) -> Entry:
        """A new numbered entry."""
        self.seq += 1
        entry = Entry(self.seq, iso(int(self._clock())), kind, body)
        self.entries.append(entry)
        self.unsaved = True
        return entry

    def count(self, name: str, by: float = 1) -> None:
        """Add to a metric."""
        self.counts[name] = self.counts.get(name, 0) + by

    def waiting(self) -> int:
        """Alerts that not every sink has."""
        return sum(1 for entry in self.entries if entry.sinks)

    def work_off(self, settle: Callable[[], None]) -> None:
        """Journal, publish and respond. `settle` makes durable what was done."""
        self._write_journal()
        for sink in self.edges.sinks:
            self._publish(sink)
        for entry in list(self.entries):
            self._respond(entry)
        self._drop_done(settle)
        if any(not entry.journalled for entry in self.entries):
            self._write_journal()  # what came of the responses
            self._drop_done(settle)

    def _drop_done(self, settle: Callable[[], None]) -> None:
        if self.unsaved:
            self.entries = [entry for entry in self.entries if not entry.done]
            settle()

    def _join_journal(self) -> None:
        """Go on numbering where the journal ends, also if checkpoint or journal were lost or set back meanwhile.

        An entry with a number the journal has already would be taken for one written before a crash, and be lost.
        """
        journal = self.edges.journal
        last = max(0, journal.head[0])
        fresh = [entry for entry in self.entries if not entry.journalled]
        if not self.seq - len(fresh) <= last <= self.seq:
            known, self.seq = self.seq, last
            for entry in fresh:
                self.seq += 1
                entry.seq = self.seq
            self._say("journal_changed", checkpoint=known, journal=last)
            self.note("journal_changed", {"last_in_checkpoint": known, "last_in_journal": last})
        if journal.recovered:
            self._say("journal_recovered", what=journal.recovered)
            self.note("journal_recovered", {"what": journal.recovered})

    def _redirect(self) -> None:
        """An alert waiting for a sink that is no longer configured goes to those that are."""
        names = [sink.name for sink in self.edges.sinks]
        for entry in self.entries:
            kept = [name for name in entry.sinks if name in names]
            if len(kept) < len(entry.sinks):
                self._say("sink_gone", sinks=[name for name in entry.sinks if name not in names], instead=kept or names)
                entry.sinks = kept or list(names)

    def _write_journal(self) -> None:
        fresh = [entry for entry in self.entries if not entry.journalled]
        if fresh:
            self.edges.insist()
            self.edges.journal.append([{"seq": e.seq, "time": e.time, "kind": e.kind, "body": e.body} for e in fresh])
            self.unsaved = True
        for entry in fresh:
            entry.journalled = True

    def _publish(self, sink: Sink) -> None:
        """Send a sink what waits for it, oldest first.

        A sink that cannot be reached is left alone for a while. An alert that it refuses waits by itself, and later
        ones of the same alert id with it: one alert that can never be sent must not hold up the others.
        """
        refused: set[str] = set()
        for entry in [entry for entry in self.entries if sink.name in entry.sinks]:
            if self._is_paused(sink.name) or len(refused) == REFUSALS:
                return
            if entry.alert_id in refused or self._is_paused(sink.name, entry.alert_id):
                continue
            self.edges.insist()
            try:
                sink.send(entry.alert or {})
            except EdgeError as error:
                self.count("alerts_failed")
                self._say("alert_failed", sink=sink.name, alert=entry.alert_id, error=str(error))
                self._pause(sink.name, "" if error.retryable else entry.alert_id)
                if error.retryable:
                    return
                refused.add(entry.alert_id)
            else:
                self.count("alerts_sent")
                self._unpause(sink.name, "", entry.alert_id)
                entry.sinks.remove(sink.name)
                self.unsaved = True

    def _respond(self, entry: Entry) -> None:
        """Carry out an entry's plan. What fails is tried again until the finding is too old to act alone."""
        if entry.plan is None or self._is_paused(RESPONDER, case := str(entry.plan["case_id"])):
            return
        first, applied = (RESPONDER, case) not in self._paused, self._apply(entry.plan, entry.body)
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

    def _apply(self, ordered: dict[str, Any], finding: dict[str, Any]) -> Applied:
        """What was right when planned may not be any more: the daemon was down, or its mode was changed."""
        last = epoch(finding.get("last_at")) or 0
        if self.edges.responder is None:
            return Applied(ordered["case_id"], "refused", "the daemon is no longer in enforce mode")
        if self._clock() - last > self.max_age:
            return Applied(ordered["case_id"], "refused", "the finding is older than response.max_age by now")
        self.edges.insist()
        return self.edges.responder.apply(ordered)

    def _is_paused(self, name: str, what: str = "") -> bool:
        return self._clock() < self._paused.get((name, what), (0.0, 0.0))[0]

    def _pause(self, name: str, what: str = "") -> None:
        """Leave it alone for a while, twice as long each time."""
        pause = min(2 * self._paused.get((name, what), (0.0, 0.5))[1], LONGEST_PAUSE)
        self._paused[name, what] = (self._clock() + pause, pause)

    def _unpause(self, name: str, *what: str) -> None:
        for one in what:
            self._paused.pop((name, one), None)
