"""The daemon's loop, as numbered steps. Read it together with `core/engine.py`.

    1 receive → 2 fetch → 3 parse → 4 engine → 5 checkpoint (with outbox)
    → 6 journal → 7 publish → 8 respond → 9 acknowledge

Steps 2 and 3 are in `intake.py`, what becomes of findings in `telling.py`, what steps 6 to 8 work off in `outbox.py`.

Only step 9 tells the source that something is done, and only step 5 makes something durable. A crash

- before 5: the source delivers again; nothing was counted.
- after 5, before 9: the source delivers again; the checkpoint knows the files and they are not counted twice. Journal
  entries, alerts and responses not yet carried out are in the checkpoint's outbox and are worked off at the next start:
  every alert is published at least once, always with the same alert id.

A journal entry has its number in a checkpoint before the journal gets it, so that a crash cannot give a number twice.

There is one daemon at a time: steps 5 to 9 ask before everything that leaves the program whether the lease is held. A
daemon that was paused past its lease raises LeaseLostError there, and a save of it would fail on the fencing epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from detector.archive import Archive
from detector.blindness import Limits
from detector.core.access import COLUMNS, U64, AccessBatch
from detector.core.admit import Admission
from detector.core.asked import watches_bucket
from detector.core.dedup import Seen
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.projection import OF_EVIDENCE, columns
from detector.core.redaction import Redaction
from detector.core.rule import Rule
from detector.core.times import iso
from detector.core.watermark import NEVER
from detector.core.ways import BEGAN
from detector.daily import Memory as DailyMemory
from detector.drain import Drain, Hurry
from detector.edges import Edges
from detector.errors import EdgeError, InputError, StateError
from detector.hourly import Memory as HourlyMemory
from detector.intake import Fetching, Intake, Taken
from detector.learnt import Learnt
from detector.logs.limits import LIMITS
from detector.logs.limits import Limits as LogLimits
from detector.outage import Failing
from detector.outbox import Outbox, Say, Sending
from detector.response.guards import ResponsePolicy
from detector.rules import Rulebook, read_book
from detector.sight import COLUMNS as OF_SIGHT
from detector.sight import Counted, Sight
from detector.source import Delivery, Message
from detector.spool import Entry
from detector.storm import Memory as StormMemory
from detector.teaching import Teaching
from detector.telling import Telling

FILES_HORIZON = 15 * 86_400
"""Seconds for which files already counted are recognised: longer than any queue keeps a message."""
FILES_MEMORY = 32 << 20
"""Bytes of these marks in memory; the rest is looked up in the checkpoint."""

PROBLEMS_JOURNALLED = 100
"""Problems of broken rule files that are journalled one by one."""

ARCHIVE_SECONDS = 5.0
"""Seconds that the archive has when the daemon was told to end."""

_NONE: U64 = np.zeros(0, np.uint64)


class Memory(msgspec.Struct):
    """What the loop and its outbox keep in the checkpoint. `saved_at`: epoch second of the last one.

    `outbox`: what earlier versions kept here; entries have parts of their own (`detector.spool`).
    """

    seq: int = 0
    enforcing_since: int = 0
    outbox: list[Entry] = msgspec.field(default_factory=list)
    saved_at: int = 0
    storm: StormMemory = msgspec.field(default_factory=StormMemory)
    failing: dict[str, Failing] = msgspec.field(default_factory=dict)
    hourly: HourlyMemory = msgspec.field(default_factory=HourlyMemory)
    journal_mark: int = 0
    daily: DailyMemory = msgspec.field(default_factory=DailyMemory)


@dataclass(frozen=True, slots=True)
class Orders:
    """What the operator wants."""

    admission: Admission = field(default_factory=Admission)
    response: ResponsePolicy = field(default_factory=ResponsePolicy)
    redact: Redaction = "none"
    protected_buckets: tuple[str, ...] = ()
    limits: LogLimits = LIMITS
    sending: Sending = field(default_factory=Sending)
    config: str = ""
    """Digest of the whole configuration, for the journal."""
    fetching: Fetching = field(default_factory=Fetching)
    learnt: Learnt | None = None
    daily_digest: bool = False
    """Whether the digest of a day is sent, not only journalled."""


class Consumer:
    """Engine and edges joined. `clock`: epoch seconds. `say`: structured log of what happens (event, key=value…).

    intake: what makes batches of messages.
    """

    def __init__(
        self,
        engine: Engine,
        book: Rulebook,
        edges: Edges,
        orders: Orders,
        *,
        say: Say,
        clock: Callable[[], float] = time.time,
        sight: Sight | None = None,
        drain: Drain | None = None,
        intake: Callable[..., Intake] = Intake,
    ) -> None:
        self.drain = drain or Drain()
        self.sight = sight or Sight(Limits(), orders.protected_buckets)
        self.engine, self.edges, self.orders = engine, edges, orders
        self._book, self._book_saved = book, False
        self._say, self._clock = say, clock
        self._files = Seen("files")
        for one in self._files.spilling():
            one.lean_on(edges.store, FILES_MEMORY)
        self._saved_at = 0
        self._outbox = Outbox(edges, orders.response.max_age, orders.sending, say=say, clock=clock, drain=self.drain)
        self._intake = intake(
            edges,
            self._outbox,
            self._files,
            orders.admission,
            orders.limits,
            orders.fetching,
            say=say,
            drain=self.drain,
        )
        self._archive = Archive(edges, clock=clock, tell=self._outbox.note, drain=self.drain)
        self._teaching = Teaching(edges.verdicts, orders.learnt, note=self._outbox.note, say=say, drain=self.drain)
        self._rules = self._take(book)
        self._backlog = False
        self._telling = Telling(engine, edges, self._outbox, orders.response, orders.redact, say=say)
        self.checkpoint_seconds = 0.0
        self.started = False
        self.last_data = self.last_turn = clock()

    def start(self) -> None:
        """Take up the last checkpoint and work off its outbox. Raises StateError."""
        parts = self.edges.store.load()
        before, book = self._book_of(parts), self._book
        if before:  # what changed since then is taken up below, as it would have been without the restart
            self.engine.adopt(before.rules)
            self._book, self._book_saved = before, True
            self._rules = self._take(before)
        self.engine.restore(parts)
        self._files.restore(parts)
        self.sight.restore(parts)
        if "source" in parts:
            self.edges.source.restore(parts["source"])
        memory = _decode(parts["consumer"]) if "consumer" in parts else Memory()
        self._resume(memory, int(self._clock()))
        self._outbox.take_up(memory.seq, parts, memory.failing, memory.journal_mark, memory.outbox)
        self._archive.restore(parts)
        self._outbox.storm.restore(memory.storm, parts)
        self._outbox.hourly.memory = memory.hourly
        self._telling.daily.memory = memory.daily
        self._adopt(book)
        self._teaching.restore(parts)
        self._teaching.begin(self.engine, book.rules, parts)
        self._note_unwatched()
        rules = {rule.id: rule.digest() for rule in self._rules.values()}
        self._outbox.casework.work(lift=False)  # what people did meanwhile, before the logs tell of it
        self._outbox.note("start", {"rules": rules, "mode": self.orders.response.mode, "config": self.orders.config})
        self._checkpoint()
        self._work_off()
        self._say_head()
        self.started = True

    def turn(self, wait_seconds: float) -> bool:
        """One round; whether anything came or may be waiting. Raises StateError; what edges refuse is tried again."""
        # 1 receive: nothing is lost, whatever happens next: only `acknowledge` makes the source forget.
        self.edges.insist()
        delivery = self._receive(wait_seconds)
        # 2, 3 fetch, parse: what cannot be fetched stays with the source; what cannot be read is booked as rejected.
        taken = self._intake.read(delivery.messages)
        backlog = delivery.backlog or len(self._intake) > 0
        self._count(taken, backlog=backlog)
        # 9 acknowledge: the source may forget. What it cannot forget comes again and is recognised.
        done = taken.done
        if done:
            self.edges.insist()
        if done and (left := self._acknowledge(done)):
            self._say("acknowledge_failed", count=len(left))
        self.edges.source.let_go(taken.left)
        # And, when there is time: what was counted goes into the archive, and what was revoked is looked after.
        self._archive.write()
        self._outbox.casework.work(lift=not backlog)
        self._teaching.work(self.engine, int(self._clock()))
        if done:
            self.last_data = self._clock()
        self.last_turn = self._clock()
        return bool(delivery.messages) or backlog

    def _count(self, taken: Taken, *, backlog: bool) -> None:
        """Steps 4 to 8: what one turn's messages brought is counted, made durable and told."""
        batch, done, marks = taken.batch, taken.done, taken.marked
        self._outbox.casework.note_read(n.name for m in taken.messages for n in m.notices if n.data is None)
        # 4 engine: counts, and says what that means.
        now, before = int(self._clock()), Counted.of(self.engine.books)
        events = self.engine.process(batch, now)
        findings = self.engine.judge() + self.engine.advance(now, backlog=backlog)
        counted = Counted.of(self.engine.books).since(before)
        findings += self.sight.look(self.engine, counted, events, taken.messages, now)
        self._archive.take(events)
        self._meet(events.requests())
        self._tell(findings, now)
        self._outbox.casework.tell()
        self._outbox.tell_digests()
        self._outbox.tell_daily(self._telling.daily.due(now), send=self.orders.daily_digest)
        self._telling.note_trouble(batch, now)
        # 5 checkpoint: from here on all of this is known after a crash, and will be told.
        if done or len(marks) or self._outbox.unsaved or self._outbox.casework.unsaved or self._archive.unsaved:
            self._checkpoint(done, marks)
        # 6, 7, 8 journal, publish, respond.
        self._work_off()

    def _meet(self, requests: AccessBatch) -> None:
        """Note who of a turn's events is denied by a case, and where events came from."""
        self._outbox.casework.meet(requests)
        self._outbox.incidents.meet(requests)

    def reload(self, found: Rulebook | InputError) -> None:
        """Between turns: take up rules that changed, or say why they cannot be used; the rules from before then count.

        One checkpoint holds the new rules, the end of the old ones and what is to be told of it: a crash leaves all of
        it or nothing, and then the next start does it.
        """
        if isinstance(found, InputError):
            problems = [str(problem) for problem in getattr(found, "problems", [f"{found.where}: {found.what}"])]
            for problem in problems:
                self._say("rules_broken", problem=problem)
            self._outbox.note("rules_broken", {"problems": problems[:PROBLEMS_JOURNALLED], "count": len(problems)})
            self.sight.rule_problems = problems
        else:
            self.sight.rule_problems = ()
            if self._adopt(found):
                self._note_unwatched()
        if self._outbox.unsaved or not self._book_saved:
            self._checkpoint()
            self._work_off()

    def close_all(self) -> None:
        """The data ends here: close every open finding and tell of it."""
        now = int(self._clock())
        self._tell(self.engine.finish() + self.sight.blindness.close(now), now)
        self._outbox.tell_digests(everything=True)
        self._checkpoint()
        self._work_off()

    def stop(self) -> int:
        """Leave a last checkpoint and let go of everything. What is left to send or carry out, for the next start."""
        self._outbox.tell_digests(everything=True)
        self._outbox.note("stop", {})
        self._checkpoint()
        self._work_off()
        self._write_archive()
        self._say_head()
        if left := len(self._outbox.entries):
            self._say("left_for_next_start", count=left)
        self._intake.close()
        self._let_go_of_source()
        self.edges.store.close()
        return left

    def _write_archive(self) -> None:
        """All that waits becomes files, as far as there is time: what does not is in the checkpoint."""
        until = time.monotonic() + (ARCHIVE_SECONDS if self.drain.asked else math.inf)
        while self._archive.write(everything=True, until=until) and time.monotonic() < until:
            self._save(self._archive.changes())
        if self._archive.unsaved or self._outbox.unsaved:
            self._save(self._archive.changes())

    def values(self) -> dict[str, float]:
        """The metrics as they stand (see `metrics.METRICS`)."""
        books, now = self.engine.books, self._clock()
        reached = [at for at in self.engine.watermark.reached.values() if at > NEVER]
        return (
            self._outbox.counts
            | self._outbox.casework.values()
            | self.sight.values()
            | {
                "records": books.records,
                "access_events": books.access_events,
                "duplicates": books.duplicates,
                "skipped": books.skipped.total(),
                "rejected": books.rejected.total(),
                "late": books.late,
                "archive_waiting": self._archive.waiting(),
                "archive_dropped": self._archive.dropped,
                "alerts_waiting": self._outbox.waiting(),
                "alert_age_seconds": self._outbox.age(),
                "incidents_open": len(self._outbox.incidents.open),
                "sink_down": len(self._outbox.outages.down()),
                "checkpoint_seconds": self.checkpoint_seconds,
                "rules_failed": len(self.engine.failures),
                "rules_learning": len(self.engine.learning()),
                "watermark_lag_seconds": max(0.0, now - min(reached)) if reached else 0.0,
                "seconds_since_data": now - self.last_data,
            }
        )

    def _adopt(self, book: Rulebook) -> bool:
        """From now on these rules count; whether they say anything else than those before. All of it is told."""
        before, now = self._rules, int(self._clock())
        self._tell(self.engine.adopt(book.rules), now)
        self._book_saved &= dict(book.files) == dict(self._book.files)
        self._book = book
        self._rules = self._take(book)
        self._telling.failed &= self.engine.failures.keys()
        after = self._rules
        stayed = [name for name in after if name in before and after[name] != before[name]]
        empty = [name for name in stayed if after[name].digest() != before[name].digest()]
        told = {
            "added": [name for name in after if name not in before],
            "removed": [name for name in before if name not in after],
            "changed": empty,
            "reworded": [name for name in stayed if name not in empty],
        }
        if not any(told.values()):
            self._say("rules_unchanged", count=len(after))
            return False
        self._say("reload", **told, counting_from=iso(now))
        digests = {rule.id: rule.digest() for rule in after.values()}
        self._outbox.note("reload", told | {"rules": digests, "counting_from": iso(now)})
        return True

    def _take(self, book: Rulebook) -> dict[str, Rule]:
        """The rules by id; from now on the columns they need are read."""
        needed = columns(book.rules, prefer=bool(self.orders.admission.prefer))
        needed |= OF_EVIDENCE | OF_SIGHT | {"partition", BEGAN}
        self._intake.columns = COLUMNS if self._archive.wanted else needed
        return {rule.id: rule for rule in book.rules}

    def _book_of(self, parts: Mapping[str, bytes]) -> Rulebook | None:
        """The rules that a checkpoint was made with; None if there are none that this version can read."""
        if "rules" not in parts:
            return None
        try:
            return read_book(msgspec.msgpack.decode(parts["rules"], type=dict[str, str]))
        except (msgspec.MsgspecError, InputError) as error:
            self._say("rules_of_checkpoint_unreadable", error=str(error))
            return None

    def _resume(self, memory: Memory, now: int) -> None:
        """What depends on the clock: the first day of enforce mode; partitions were not silent while we slept."""
        self._telling.enforce(memory.enforcing_since or now)
        asleep = max(0, now - memory.saved_at) if memory.saved_at else 0
        for partition in self.engine.watermark.partitions.values():
            partition.heard_at += asleep
        self.sight.start(now, asleep)

    def _note_unwatched(self) -> None:
        """A protected bucket that no rule looks at is the operator's mistake, and is said; so are rules that wait."""
        for rule, names in self._book.waiting.items():
            self._say("rule_waits_for_names", rule=rule, names=list(names))
            self._outbox.note("rule_waits_for_names", {"rule_id": rule, "names": list(names)})
        for bucket in self.orders.protected_buckets:
            if not any(watches_bucket(rule, bucket) for rule in self._rules.values()):
                self._say("protected_bucket_unwatched", bucket=bucket)
                self._outbox.note("protected_bucket_unwatched", {"bucket": bucket})

    def _receive(self, wait_seconds: float) -> Delivery:
        """The next messages; none while some of the last delivery are in hand."""
        if len(self._intake):
            return Delivery(backlog=self._backlog)
        try:
            with self.drain.edge():
                delivery = self.edges.source.receive(wait_seconds)
        except Hurry:
            return Delivery(backlog=True)
        except EdgeError as error:
            self._say("receive_failed", error=str(error))
            if not error.retryable:
                raise
            return Delivery(backlog=True)
        self._backlog = delivery.backlog
        return delivery

    def _let_go_of_source(self) -> None:
        """What is in hand comes again: at once, if there is still time to say so."""
        try:
            with self.drain.edge():
                self.edges.source.close()
        except Hurry:
            self._say("source_left_open")

    def _acknowledge(self, done: Sequence[Message]) -> list[str]:
        """The ids that the source could not forget."""
        try:
            with self.drain.edge():
                return self.edges.source.acknowledge(done)
        except Hurry:
            return [message.id for message in done]

    def _tell(self, findings: Sequence[Finding], now: int) -> None:
        """What is to be told of findings goes into the outbox."""
        self._telling.tell(findings, self._rules, self._book.suppressions, now)

    def _checkpoint(self, done: Sequence[Message] = (), marks: U64 = _NONE) -> None:
        """Make everything so far durable in one atomic write."""
        began, now = time.monotonic(), int(self._clock())
        self._files.remember(marks, np.full(len(marks), now, np.int64))
        self._files.forget_before(now - FILES_HORIZON)
        self._outbox.incidents.forget_before(min(self.engine.watermark.reached.values(), default=NEVER))
        self._saved_at = now
        parts = self.engine.changes() | self._files.changes() | self.sight.changes() | self._archive.changes()
        parts |= self._teaching.changes()
        parts["source"] = self.edges.source.positions(done)
        if not self._book_saved:
            parts["rules"] = msgspec.msgpack.encode(dict(self._book.files))
        self._save(parts)
        self._book_saved = True
        self.engine.saved()
        for one in self._files.spilling():
            one.let_go(FILES_MEMORY)
        self._archive.let_go()
        self.checkpoint_seconds = time.monotonic() - began

    def _save(self, parts: dict[str, bytes | None]) -> None:
        """Write these parts with the loop's own memory, atomically."""
        self.edges.insist()
        outbox = self._outbox
        memory = Memory(
            outbox.seq,
            self._telling.enforcing_since,
            saved_at=self._saved_at,
            storm=outbox.storm.memory,
            failing=outbox.outages.failing,
            hourly=outbox.hourly.memory,
            journal_mark=self.edges.journal.mark,
            daily=self._telling.daily.memory,
        )
        self.edges.store.save(parts | outbox.changes() | {"consumer": msgspec.msgpack.encode(memory)})
        outbox.saved()

    def _say_head(self) -> None:
        """Where the journal ends, for whoever wants to see later that nothing was cut off (`journal verify --head`)."""
        head = self.edges.journal.head
        self._say("journal_head", seq=head.seq, hash=head.hash)

    def _work_off(self) -> None:
        """Steps 6 to 8; what an edge refuses stays in the outbox and is tried next turn."""
        self._outbox.work_off(lambda: self._save({}))


def _decode(data: bytes) -> Memory:
    try:
        return msgspec.msgpack.decode(data, type=Memory)
    except msgspec.MsgspecError as error:
        raise StateError("the checkpoint's outbox cannot be read", remedy="run the version that wrote it") from error
