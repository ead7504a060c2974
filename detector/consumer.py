"""The daemon's loop, as numbered steps. Read it together with `core/engine.py`.

    1 receive → 2 fetch → 3 parse → 4 engine → 5 checkpoint (with outbox)
    → 6 journal → 7 publish → 8 respond → 9 acknowledge

Only step 9 tells the source that something is done, and only step 5 makes something durable. A crash

- before 5: the source delivers again; nothing was counted.
- after 5, before 9: the source delivers again; the checkpoint knows the files and they are not counted twice. Journal
  entries, alerts and responses not yet carried out are in the checkpoint's outbox and are worked off at the next start:
  every alert is published at least once, always with the same alert id.

A journal entry has its number in a checkpoint before the journal gets it, so that a crash cannot give a number twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from detector.alert import alert, leaving
from detector.core.access import U64, AccessBatch, BatchBuilder, text_hash
from detector.core.admit import Admission
from detector.core.dedup import Seen
from detector.core.engine import Engine
from detector.core.episode import CLOSED, OPENED
from detector.core.evidence import Redaction
from detector.core.finding import Finding, iso
from detector.core.rule import Rule
from detector.errors import EdgeError, StateError
from detector.journal import Journal
from detector.logs.read import read
from detector.response.plan import ResponsePolicy, epoch, plan
from detector.source import Applied, Delivery, Message, Notice, Responder, Sink, Source, StateStore

FILES_HORIZON = 15 * 86_400
"""Seconds for which files already counted are recognised: longer than any queue keeps a message."""
REJECTS_JOURNALLED = 20
"""Rejected records of one poll that are journalled one by one; the rest is counted."""

Say = Callable[..., None]
_NONE: U64 = np.zeros(0, np.uint64)
LONGEST_PAUSE = 60.0
"""Seconds between attempts at what keeps failing, at most."""
REFUSALS = 3
"""Alerts a sink may refuse in one turn before the others wait for the next turn."""
RESPONDER = "responder"


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


class Memory(msgspec.Struct):
    """What the loop itself keeps in the checkpoint. `saved_at`: epoch second of the last one."""

    seq: int = 0
    enforcing_since: int = 0
    outbox: list[Entry] = msgspec.field(default_factory=list)
    saved_at: int = 0


@dataclass(frozen=True, slots=True)
class Edges:
    """The world as the loop sees it."""

    source: Source
    store: StateStore
    sinks: Sequence[Sink]
    journal: Journal
    responder: Responder | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What the operator wants."""

    admission: Admission = field(default_factory=Admission)
    response: ResponsePolicy = field(default_factory=ResponsePolicy)
    redact: Redaction = "none"
    protected_buckets: tuple[str, ...] = ()


class Consumer:
    """Engine and edges joined. `clock`: epoch seconds. `say`: structured log of what happens (event, key=value…)."""

    def __init__(
        self,
        engine: Engine,
        rules: Sequence[Rule],
        edges: Edges,
        orders: Orders,
        *,
        say: Say,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine, self.edges, self.orders = engine, edges, orders
        self._rules = {rule.id: rule for rule in rules}
        self._say, self._clock = say, clock
        self._files = Seen("files")
        self._memory = Memory()
        self._unsaved = False
        self._paused: dict[tuple[str, str], tuple[float, float]] = {}
        self._failed: set[str] = set()
        self._idle: set[str] = set()
        self.counts: dict[str, float] = {}
        self.started = False
        self.last_data = self.last_turn = clock()

    def start(self) -> None:
        """Take up the last checkpoint and work off its outbox. Raises StateError."""
        parts = self.edges.store.load()
        self.engine.restore(parts)
        self._files.restore(parts)
        if "source" in parts:
            self.edges.source.restore(parts["source"])
        if "consumer" in parts:
            self._memory = _decode(parts["consumer"])
        self._resume(int(self._clock()))
        self._join_journal()
        self._redirect()
        self._note(
            "start", {"rules": {r.id: r.digest() for r in self._rules.values()}, "mode": self.orders.response.mode}
        )
        self._checkpoint()
        self._work_off()
        self.started = True

    def turn(self, wait_seconds: float) -> bool:
        """One round; whether anything came. Raises StateError; what the edges refuse is said and tried again."""
        # 1 receive: nothing is lost, whatever happens next: only `acknowledge` makes the source forget.
        delivery = self._receive(wait_seconds)
        # 2, 3 fetch, parse: what cannot be fetched stays with the source; what cannot be read is booked as rejected.
        batch, done, marks = self._read(delivery.messages)
        # 4 engine: counts, and says what that means.
        now = int(self._clock())
        self.engine.process(batch, now)
        findings = self.engine.judge() + self.engine.advance(now, backlog=delivery.backlog)
        self._tell(findings, now)
        self._note_trouble(batch, now)
        # 5 checkpoint: from here on all of this is known after a crash, and will be told.
        if done or len(marks) or self._unsaved:
            self._checkpoint(done, marks)
        # 6, 7, 8 journal, publish, respond.
        self._work_off()
        # 9 acknowledge: the source may forget. What it cannot forget comes again and is recognised.
        if done and (left := self.edges.source.acknowledge(done)):
            self._say("acknowledge_failed", count=len(left))
        if done:
            self.last_data = self._clock()
        self.last_turn = self._clock()
        return bool(delivery.messages)

    def close_all(self) -> None:
        """The data ends here: close every open finding and tell of it."""
        now = int(self._clock())
        self._tell(self.engine.finish(), now)
        self._checkpoint()
        self._work_off()

    def stop(self) -> None:
        """Leave a last checkpoint and let go of everything."""
        self._note("stop", {})
        self._checkpoint()
        self._work_off()
        if left := len(self._memory.outbox):
            self._say("left_for_next_start", count=left)
        self.edges.source.close()
        self.edges.store.close()

    def values(self) -> dict[str, float]:
        """The metrics as they stand (see `metrics.METRICS`)."""
        books, now = self.engine.books, self._clock()
        reached = self.engine.watermark.reached.values()
        return self.counts | {
            "records": books.records,
            "access_events": books.access_events,
            "duplicates": books.duplicates,
            "skipped": books.skipped.total(),
            "rejected": books.rejected.total(),
            "late": books.late,
            "alerts_waiting": sum(1 for entry in self._memory.outbox if entry.sinks),
            "rules_failed": len(self.engine.failures),
            "watermark_lag_seconds": max(0.0, now - min(reached)) if reached else 0.0,
            "seconds_since_data": now - self.last_data,
        }

    def _resume(self, now: int) -> None:
        """What depends on the clock: the first day of enforce mode; partitions were not silent while we slept."""
        memory = self._memory
        enforcing = self.orders.response.mode == "enforce"
        memory.enforcing_since = (memory.enforcing_since or now) if enforcing else 0
        asleep = max(0, now - memory.saved_at) if memory.saved_at else 0
        for partition in self.engine.watermark.partitions.values():
            partition.heard_at += asleep

    def _join_journal(self) -> None:
        """Go on numbering where the journal ends, also if checkpoint or journal were lost or set back meanwhile.

        An entry with a number the journal has already would be taken for one written before a crash, and be lost.
        """
        memory, journal = self._memory, self.edges.journal
        last = max(0, journal.head[0])
        fresh = [entry for entry in memory.outbox if not entry.journalled]
        if not memory.seq - len(fresh) <= last <= memory.seq:
            known, memory.seq = memory.seq, last
            for entry in fresh:
                memory.seq += 1
                entry.seq = memory.seq
            self._say("journal_changed", checkpoint=known, journal=last)
            self._note("journal_changed", {"last_in_checkpoint": known, "last_in_journal": last})
        if journal.recovered:
            self._say("journal_recovered", what=journal.recovered)
            self._note("journal_recovered", {"what": journal.recovered})

    def _redirect(self) -> None:
        """An alert waiting for a sink that is no longer configured goes to those that are."""
        names = [sink.name for sink in self.edges.sinks]
        for entry in self._memory.outbox:
            kept = [name for name in entry.sinks if name in names]
            if len(kept) < len(entry.sinks):
                self._say("sink_gone", sinks=[name for name in entry.sinks if name not in names], instead=kept or names)
                entry.sinks = kept or list(names)

    def _receive(self, wait_seconds: float) -> Delivery:
        try:
            return self.edges.source.receive(wait_seconds)
        except EdgeError as error:
            self._say("receive_failed", error=str(error))
            if not error.retryable:
                raise
            return Delivery(backlog=True)

    def _read(self, messages: Sequence[Message]) -> tuple[AccessBatch, list[Message], U64]:
        """The records of these messages, the messages that are done with, and the marks of the files counted."""
        builder = BatchBuilder()
        done: list[Message] = []
        marks: list[int] = []
        for message in messages:
            if message.problem:
                self._count("quarantined")
                self._note("quarantine", {"message": message.id, "reason": message.problem})
                done.append(message)
                continue
            read_all = [self._read_one(notice, builder, marks) for notice in message.notices]
            if all(read_all):
                done.append(message)
        batch = self.orders.admission.apply(builder.build())
        return batch, done, np.array(marks, np.uint64)

    def _read_one(self, notice: Notice, builder: BatchBuilder, marks: list[int]) -> bool:
        """Read one log file; whether the source may forget it."""
        mark = text_hash(f"{notice.name}\x1f{notice.version}")
        if mark in marks or self._files.contains(np.array([mark], np.uint64))[0]:
            return True
        try:
            data = self.edges.source.fetch(notice)
        except EdgeError as error:
            self._count("fetch_failures")
            self._say("fetch_failed", file=notice.name, error=str(error), again=error.retryable)
            return False
        marks.append(mark)
        self._count("files")
        self._parse(data, notice.name, builder)
        return True

    def _parse(self, data: bytes, name: str, builder: BatchBuilder) -> None:
        """Read a log file into the builder. A file that is more than a parser can bear must not stop the others."""
        rows, rejects = len(builder.rows), len(builder.rejects)
        try:
            reading = read(data, name, builder)
        except Exception as error:  # noqa: BLE001  whatever it is, the file is quarantined and people are told
            del builder.rows[rows:], builder.rejects[rejects:]
            self._count("quarantined")
            self._say("file_quarantined", file=name, error=f"{type(error).__name__}: {error}")
            self._note("quarantine", {"file": name, "reason": f"{type(error).__name__}: {error}"})
            return
        if not reading.kind:
            self._note("ignored", {"file": name, "reason": reading.reason})
        if reading.damage:
            self._note("damaged", {"file": name, "reason": reading.damage})

    def _tell(self, findings: Sequence[Finding], now: int) -> None:
        """Put findings into the outbox: journalled all, sent where the rule pages, answered where it says so."""
        for finding in findings:
            rule = self._rules[finding.rule_id]
            self._count(f"findings_{finding.state}")
            planned = self._plan(finding, rule, now)
            body = alert(finding, rule, planned, now)
            entry = self._note("finding", body)
            self._say(
                "finding", state=finding.state, rule=finding.rule_id, alert=finding.alert_ids[0], who=finding.group
            )
            if rule.pages:
                entry.alert = leaving(body, self.orders.redact)
                entry.sinks = [sink.name for sink in self.edges.sinks]
            if planned and planned["applicable"] and self.edges.responder and finding.state == OPENED:
                entry.plan = planned

    def _plan(self, finding: Finding, rule: Rule, now: int) -> dict[str, Any] | None:
        """The revocation plan of a finding about one session; None where none is wanted or nobody could be revoked."""
        if finding.state == CLOSED or finding.principal is None or self.orders.response.mode == "off":
            return None
        about = finding.to_json() | {
            "alert_id": finding.alert_ids[0],
            "respond": list(rule.respond),
            "stage": rule.stage,
            "late": finding.late,
        }
        policy = replace(self.orders.response, enforcing_since=self._memory.enforcing_since)
        return plan(about, planned_at=now, settings=policy).to_json()

    def _note_trouble(self, batch: AccessBatch, now: int) -> None:
        """Journal what a person should know: rejected records, rules that failed, partitions fallen silent."""
        for reject in batch.rejects[:REJECTS_JOURNALLED]:
            self._note("rejected", {"file": reject.file, "position": reject.position, "reason": reject.reason})
        if len(batch.rejects) > REJECTS_JOURNALLED:
            self._note("rejected", {"and_more": len(batch.rejects) - REJECTS_JOURNALLED})
        for rule, why in self.engine.failures.items():
            if rule not in self._failed:
                self._failed.add(rule)
                self._say("rule_failed", rule=rule, error=why)
                self._note("rule_failed", {"rule": rule, "error": why})
        idle = set(self.engine.watermark.idle(now))
        for partition in sorted(idle - self._idle):
            self._say("partition_idle", partition=partition)
            self._note("idle", {"partition": partition})
        self._idle = idle

    def _checkpoint(self, done: Sequence[Message] = (), marks: U64 = _NONE) -> None:
        """Make everything so far durable in one atomic write."""
        began, now = time.monotonic(), int(self._clock())
        self._files.remember(marks, np.full(len(marks), now, np.int64))
        self._files.forget_before(now - FILES_HORIZON)
        self._memory.saved_at = now
        parts = self.engine.changes() | self._files.changes()
        parts["source"] = self.edges.source.positions(done)
        self._save(parts)
        self.counts["checkpoint_seconds"] = time.monotonic() - began

    def _save(self, parts: dict[str, bytes | None]) -> None:
        """Write these parts with the loop's own memory, atomically."""
        self.edges.store.save(parts | {"consumer": msgspec.msgpack.encode(self._memory)})
        self._unsaved = False

    def _work_off(self) -> None:
        """Journal, publish and respond to what the outbox holds; what an edge refuses stays and is tried next turn."""
        self._write_journal()
        for sink in self.edges.sinks:
            self._publish(sink)
        for entry in list(self._memory.outbox):
            self._respond(entry)
        self._settle()
        if any(not entry.journalled for entry in self._memory.outbox):
            self._write_journal()  # what came of the responses
            self._settle()

    def _settle(self) -> None:
        """Let go of what is done, durably."""
        if self._unsaved:
            self._memory.outbox = [entry for entry in self._memory.outbox if not entry.done]
            self._save({})

    def _write_journal(self) -> None:
        fresh = [entry for entry in self._memory.outbox if not entry.journalled]
        if fresh:
            self.edges.journal.append([{"seq": e.seq, "time": e.time, "kind": e.kind, "body": e.body} for e in fresh])
            self._unsaved = True
        for entry in fresh:
            entry.journalled = True

    def _publish(self, sink: Sink) -> None:
        """Send a sink what waits for it, oldest first.

        A sink that cannot be reached is left alone for a while. An alert that it refuses waits by itself, and later
        ones of the same alert id with it: one alert that can never be sent must not hold up the others.
        """
        refused: set[str] = set()
        for entry in [entry for entry in self._memory.outbox if sink.name in entry.sinks]:
            if self._is_paused(sink.name) or len(refused) == REFUSALS:
                return
            if entry.alert_id in refused or self._is_paused(sink.name, entry.alert_id):
                continue
            try:
                sink.send(entry.alert or {})
            except EdgeError as error:
                self._count("alerts_failed")
                self._say("alert_failed", sink=sink.name, alert=entry.alert_id, error=str(error))
                self._pause(sink.name, "" if error.retryable else entry.alert_id)
                if error.retryable:
                    return
                refused.add(entry.alert_id)
            else:
                self._count("alerts_sent")
                self._unpause(sink.name, "", entry.alert_id)
                entry.sinks.remove(sink.name)
                self._unsaved = True

    def _respond(self, entry: Entry) -> None:
        """Carry out an entry's plan. What fails is tried again until the finding is too old to act alone."""
        if entry.plan is None or self._is_paused(RESPONDER, case := str(entry.plan["case_id"])):
            return
        first, applied = (RESPONDER, case) not in self._paused, self._apply(entry.plan, entry.body)
        self._say("revocation", case=case, status=applied.status, detail=applied.detail)
        if first or applied.status != "failed":
            result = {"case_id": case, "status": applied.status, "detail": applied.detail, "plan": entry.plan}
            self._note("revocation", result)
        if applied.status == "failed":
            self._pause(RESPONDER, case)
            return
        self._count("revocations", applied.status == "applied")
        self._unpause(RESPONDER, case)
        entry.plan, self._unsaved = None, True

    def _apply(self, ordered: dict[str, Any], finding: dict[str, Any]) -> Applied:
        """What was right when planned may not be any more: the daemon was down, or its mode was changed."""
        last = epoch(finding.get("last_at")) or 0
        if self.edges.responder is None:
            return Applied(ordered["case_id"], "refused", "the daemon is no longer in enforce mode")
        if self._clock() - last > self.orders.response.max_age:
            return Applied(ordered["case_id"], "refused", "the finding is older than response.max_age by now")
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

    def _note(self, kind: str, body: dict[str, Any]) -> Entry:
        """A numbered entry in the outbox."""
        self._memory.seq += 1
        entry = Entry(self._memory.seq, iso(int(self._clock())), kind, body)
        self._memory.outbox.append(entry)
        self._unsaved = True
        return entry

    def _count(self, name: str, by: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by


def _decode(data: bytes) -> Memory:
    try:
        return msgspec.msgpack.decode(data, type=Memory)
    except msgspec.MsgspecError as error:
        raise StateError("the checkpoint's outbox cannot be read", remedy="run the version that wrote it") from error
