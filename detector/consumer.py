"""The daemon's loop, as numbered steps. Read it together with `core/engine.py`.

    1 receive → 2 fetch → 3 parse → 4 engine → 5 checkpoint (with outbox) → 6 journal → 7 publish → 8 respond → 9 acknowledge

Only step 9 tells the source that something is done, and only step 5 makes something durable. A crash

- before 5: the source delivers again; nothing was counted.
- after 5, before 9: the source delivers again; the checkpoint knows the files and they are not counted twice. Journal
  entries, alerts and responses not yet carried out are in the checkpoint's outbox and are worked off at the next start:
  every alert is published at least once, always with the same alert id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from detector.alert import alert, redacted
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
from detector.response.plan import ResponsePolicy, plan
from detector.source import Delivery, Message, Notice, Responder, Sink, Source, StateStore

FILES_HORIZON = 15 * 86_400
"""Seconds for which files already counted are recognised: longer than any queue keeps a message."""
REJECTS_JOURNALLED = 20
"""Rejected records of one poll that are journalled one by one; the rest is counted."""

Say = Callable[..., None]
_NONE: U64 = np.zeros(0, np.uint64)
LONGEST_PAUSE = 60.0
"""Seconds between attempts at a sink that keeps failing, at most."""


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
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.journalled and not self.sinks and self.plan is None


class Memory(msgspec.Struct):
    """What the loop itself keeps in the checkpoint."""

    seq: int = 0
    enforcing_since: int = 0
    outbox: list[Entry] = msgspec.field(default_factory=list)


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
        self._paused: dict[str, tuple[float, float]] = {}
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
        enforcing = self.orders.response.mode == "enforce"
        if not enforcing:
            self._memory.enforcing_since = 0
        elif not self._memory.enforcing_since:
            self._memory.enforcing_since = int(self._clock())
        self._note(
            "start", {"rules": {r.id: r.digest() for r in self._rules.values()}, "mode": self.orders.response.mode}
        )
        self._checkpoint()
        self._work_off()
        self.started = True

    def turn(self, wait_seconds: float) -> bool:
        """One round. Returns whether anything came. Raises StateError; what the edges refuse is said and tried again."""
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
        if done or findings or self._memory.outbox:
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
            elif all(
                [self._read_one(notice, builder, marks) for notice in message.notices]
            ):  # every one, even after a failure
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
        reading = read(data, notice.name, builder)
        self._count("files")
        if not reading.kind:
            self._note("ignored", {"file": notice.name, "reason": reading.reason})
        if reading.damage:
            self._note("damaged", {"file": notice.name, "reason": reading.damage})
        marks.append(mark)
        return True

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
                entry.alert = redacted(body, self.orders.redact)
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
        parts = self.engine.changes() | self._files.changes()
        parts["source"] = self.edges.source.positions(done)
        parts["consumer"] = msgspec.msgpack.encode(self._memory)
        self.edges.store.save(parts)
        self.counts["checkpoint_seconds"] = time.monotonic() - began

    def _work_off(self) -> None:
        """Journal, publish and respond to what the outbox holds; what an edge refuses stays and is tried next turn."""
        outbox = self._memory.outbox
        if not outbox:
            return
        fresh = [entry for entry in outbox if not entry.journalled]
        self.edges.journal.append([{"seq": e.seq, "time": e.time, "kind": e.kind, "body": e.body} for e in fresh])
        for entry in fresh:
            entry.journalled = True
        for entry in list(outbox):
            self._publish(entry)
            self._respond(entry)
        left = [entry for entry in self._memory.outbox if not entry.done]
        if left != outbox:
            self._memory.outbox = left
            self.edges.store.save({"consumer": msgspec.msgpack.encode(self._memory)})

    def _publish(self, entry: Entry) -> None:
        for sink in self.edges.sinks:
            until, pause = self._paused.get(sink.name, (0.0, 0.5))
            if sink.name not in entry.sinks or entry.alert is None or self._clock() < until:
                continue
            try:
                sink.send(entry.alert)
            except EdgeError as error:
                pause = min(pause * 2, LONGEST_PAUSE)
                self._paused[sink.name] = (self._clock() + pause, pause)
                self._count("alerts_failed")
                self._say("alert_failed", sink=sink.name, alert=entry.alert["alert_id"], error=str(error))
            else:
                self._count("alerts_sent")
                self._paused.pop(sink.name, None)
                entry.sinks.remove(sink.name)

    def _respond(self, entry: Entry) -> None:
        if entry.plan is None or self.edges.responder is None:
            return
        applied = self.edges.responder.apply(entry.plan)
        self._count("revocations", applied.status == "applied")
        self._say("revocation", case=applied.case_id, status=applied.status, detail=applied.detail)
        self._note(
            "revocation",
            {"case_id": applied.case_id, "status": applied.status, "detail": applied.detail, "plan": entry.plan},
        )
        entry.plan = None

    def _note(self, kind: str, body: dict[str, Any]) -> Entry:
        """A numbered entry in the outbox."""
        self._memory.seq += 1
        entry = Entry(self._memory.seq, iso(int(self._clock())), kind, body)
        self._memory.outbox.append(entry)
        return entry

    def _count(self, name: str, by: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by


def _decode(data: bytes) -> Memory:
    try:
        return msgspec.msgpack.decode(data, type=Memory)
    except msgspec.MsgspecError as error:
        raise StateError("the checkpoint's outbox cannot be read", remedy="run the version that wrote it") from error
