"""The daemon with Spark to count: its loop, outbox, journal and lease are the daemon's own; a batch is a turn.

    1 receive → manifest → 2-4 on Spark → 5 checkpoint (with outbox) → Spark commits → 6 journal → 7 publish
    → 9 acknowledge

Rules of this file
- Only the driver tells anybody anything, under the daemon's lease. Executors read log files and count.
- What a batch found is in the daemon's checkpoint before Spark commits the batch. A crash before that: Spark runs the
  same manifest again. A crash after it: what comes again is known by its number, and dropped.
- The driver keeps the watermark, from the newest records of every partition. A batch is judged by where it stood before
  the batch, as in the daemon; what may close by where it stands after it closes with the next batch.
- Rules that change are an order in a manifest, too, as is the end of the data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from typing import TYPE_CHECKING, Any

import msgspec

from detector.consumer import Consumer
from detector.core.access import AccessBatch, Reject, text_hash
from detector.core.builder import BatchBuilder
from detector.core.engine import STATE_VERSION, Books, Engine
from detector.core.finding import Finding
from detector.core.parcel import together, unpack
from detector.core.rule import Rule
from detector.core.watermark import NEVER, Watermark
from detector.drain import Drain
from detector.errors import BucketwatchError, EdgeError, StateError
from detector.intake import Intake, Taken, mark_of
from detector.rules import Rulebook
from detector.source import Message, Notice
from detector.watches import watches
from replay.shards import finding_of
from replay.spark.manifest import Manifest, Manifests, Order, named
from replay.spark.session import failing
from replay.spark.stages import How, Outcome

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

PART = "spark"
"""The part of the daemon's checkpoint that says how far Spark's results are in it."""
LAYOUT = 1
"""Version of what lies in the shards' state, beside the engine's own."""
IDLE = 30.0
"""Seconds without log files after which a batch without any is sent, if event time went on meanwhile."""
PATIENCE = 0.2
_DECODE = msgspec.msgpack.Decoder().decode


@dataclass(slots=True)
class Came:
    """What a batch came to. rules: texts by file, where other rules count from it on."""

    number: int = 0
    rules: dict[str, str] | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    books: dict[str, Books] = field(default_factory=dict)
    seen: list[AccessBatch] = field(default_factory=list)
    named: list[AccessBatch] = field(default_factory=list)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    learning: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, parcels: Iterable[bytes]) -> Came:
        """From what the shards sent the driver."""
        came = cls()
        for what, *told in map(_DECODE, parcels):
            getattr(came, f"_{what}")(*told)
        return came

    def _head(self, number: int, rules: dict[str, str] | None) -> None:
        self.number, self.rules = number, rules

    def _files(self, outcomes: list[Any], rejects: list[Any]) -> None:
        self.outcomes += [Outcome(*one) for one in outcomes]
        self.rejects += [Reject(*one) for one in rejects]

    def _seen(self, seen: bytes, events: bytes) -> None:
        self.seen.append(unpack(seen))
        self.named.append(unpack(events))

    def _books(self, shard: str, books: dict[str, Any]) -> None:
        self.books[shard] = Books.of(books)

    def _found(self, shard: str, found: list[Any], failures: dict[str, str], learning: list[str]) -> None:
        self.findings[shard] = list(map(finding_of, found))
        self.failures |= failures
        self.learning[shard] = learning


class Cluster:
    """Manifests to Spark, and what came of them: one batch at a time. drain: how the daemon is told to end."""

    def __init__(self, spark: SparkSession, folder: Path, how: How, drain: Drain) -> None:
        self._spark, self._folder, self._how, self._drain = spark, folder, how, drain
        self._manifests = Manifests(folder / "manifests")
        self._query: StreamingQuery | None = None
        self._came: Queue[Came] = Queue(1)
        self._saved, self._over = Event(), Event()
        self._handed = False
        self.known = 0

    @property
    def waits(self) -> bool:
        """Whether a batch was sent, and what came of it is not in the daemon's checkpoint."""
        return self._manifests.last() > self.known

    @property
    def shards(self) -> int:
        """Of the books, and of each level."""
        return self._how.count

    def begin(self, known: int) -> None:
        """Start Spark's half. known: the last batch that is in the daemon's checkpoint. Raises StateError."""
        from replay.spark.query import start

        last = self._manifests.last()
        if not known <= last <= known + 1:
            raise StateError(
                f"the state knows of {known:,} batches, Spark's folder of {last:,}: they are not of one run",
                where=str(self._folder),
                remedy="restore both from copies of the same time, or start anew with a new state and a new spark.path",
            )
        self.known = known
        with failing():
            self._query = start(self._spark, self._folder, self._how, self._take)

    def send(self, *read: Any, **order: Any) -> None:
        """The next batch. read: columns and files of its manifest. order: fields of `Order`."""
        self._manifests.write(Manifest(Order(self.known + 1, **order), *read))

    def receive(self) -> Came:
        """What the batch that was sent comes to, once Spark has done it. Raises Hurry, BucketwatchError."""
        with self._drain.edge():
            while True:
                try:
                    came = self._came.get(timeout=PATIENCE)
                except Empty:
                    self._look()
                else:
                    self.known, self._handed = came.number, True
                    return came

    def saved(self) -> None:
        """What was received is in the daemon's checkpoint: Spark may commit. Returns when it has."""
        if self._handed and self._query is not None:
            self._handed = False
            self._saved.set()
            with failing():
                self._query.processAllAvailable()

    def end(self) -> None:
        """Stop Spark's half; a batch that is not in the daemon's checkpoint is not committed."""
        self._over.set()
        if self._query is not None:
            self._query.stop()

    def _take(self, parcels: list[bytes]) -> None:
        """Called by Spark: hands a batch over, and returns when it is in the daemon's checkpoint."""
        came = Came.of(parcels)
        if came.number <= self.known:
            return
        self._saved.clear()
        self._came.put(came)
        while not self._saved.wait(PATIENCE):
            if self._over.is_set():
                raise RuntimeError("the daemon has ended")

    def _look(self) -> None:
        query = self._query
        if query is None or not query.isActive:
            told = str(query.exception()).strip() if query is not None else ""
            raise BucketwatchError(
                f"Spark has stopped: {told[-2000:] or 'it does not say why'}",
                where=str(self._folder),
                remedy="spark.log in that folder has the whole of it; started again, it goes on where it stopped",
            )


class Remote(Engine):
    """The engine as the loop sees it. It counts on Spark; books and watermark are here."""

    def __init__(
        self, cluster: Cluster, *, watermark: Watermark, horizon: int, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__((), watches(), watermark=watermark, horizon=horizon)
        self.cluster, self.clock = cluster, clock
        self.book: Rulebook | None = None
        self._came = Came()
        self._shards: dict[str, Books] = {}
        self._unread = Books()
        self._learning: dict[str, list[str]] = {}
        self._rules = ""

    def counts_by(self, book: Rulebook) -> bool:
        """Whether these are the rules that the shards were told last."""
        return self._rules == _digest(book.files)

    def take_in(self, came: Came) -> AccessBatch:
        """What a batch came to; the newest of its records."""
        self._came = came
        return _whole(came.seen, came.rejects)

    def process(self, batch: AccessBatch, now: int) -> AccessBatch:
        """Books and watermark go on; the newest access events of the batch that was taken in."""
        came = self._came
        if came.rules is not None:
            self._rules = _digest(came.rules)
        self._shards |= came.books
        self._unread.records += len(batch.rejects)
        self._unread.rejected.update(reject.reason for reject in batch.rejects)
        self.books = Books()
        for one in (*self._shards.values(), self._unread):
            self.books.add(one)
        self.failures |= came.failures
        self._learning |= came.learning
        self.watermark.observe(batch, now)
        return _whole(came.named)

    def judge(self) -> list[Finding]:
        """What the batch that was taken in found."""
        came, self._came = self._came, Came()
        return [finding for shard in sorted(came.findings) for finding in came.findings[shard]]

    def advance(self, now: int, *, backlog: bool) -> list[Finding]:
        """Event time goes on; what closes thereby, the next batch finds."""
        self.watermark.advance(now, backlog=backlog)
        return []

    def finish(self) -> list[Finding]:
        """The data ends here: everything closes."""
        return self._ask(finish=True)

    def adopt(self, rules: Sequence[Rule]) -> list[Finding]:
        """From now on the rules of `book` count."""
        if self.book is None:
            return []
        kept = {rule.id for rule in rules}
        self.failures = {name: why for name, why in self.failures.items() if name in kept}
        self._learning.clear()
        return self._ask(rules=dict(self.book.files))

    def learning(self) -> list[str]:
        """Ids of the rules that know too little yet, in every shard, to find anything."""
        shards: dict[str, list[set[str]]] = {}
        for shard, ids in self._learning.items():
            shards.setdefault(shard.rpartition("#")[0], []).append(set(ids))
        return sorted(set[str]().union(*(set.intersection(*every) for every in shards.values())))

    def changes(self) -> dict[str, bytes | None]:
        """As the engine's, and how far Spark's results are in it."""
        state = {
            "version": [LAYOUT, STATE_VERSION],
            "shards": self.cluster.shards,
            "known": self.cluster.known,
            "books": self._shards,
            "unread": self._unread,
            "rules": self._rules,
        }
        return super().changes() | {PART: msgspec.msgpack.encode(state)}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on where a checkpoint stopped; Spark's half begins. Raises StateError."""
        known = 0
        if PART in parts:
            state = _DECODE(parts[PART])
            self._check(state)
            known = state["known"]
            self._shards = {shard: Books.of(books) for shard, books in state["books"].items()}
            self._unread = Books.of(state["unread"])
            self._rules = state["rules"]
        elif "engine" in parts:
            raise StateError(
                "this state is of a daemon that counts in one process",
                where="state",
                remedy="give the daemon on Spark a state of its own; docs/spark.md says how to move",
            )
        super().restore({name: part for name, part in parts.items() if name == "engine"})
        self.cluster.begin(known)

    def saved(self) -> None:
        """The checkpoint is made: Spark may commit."""
        super().saved()
        self.cluster.saved()

    def read(self, files: Iterable[Notice], columns: frozenset[str]) -> Came:
        """A batch of these log files; what it comes to."""
        return self._batch(sorted(columns), [named(one) for one in files])

    def _ask(self, **order: Any) -> list[Finding]:
        """A batch without log files; what it finds."""
        self.process(self.take_in(self._batch(**order)), int(self.clock()))
        return self.judge()

    def _batch(self, *read: Any, **order: Any) -> Came:
        self.cluster.send(*read, now=int(self.clock()), reached=self.watermark.reached, **order)
        return self.cluster.receive()

    def _check(self, state: Mapping[str, Any]) -> None:
        if state["version"] != [LAYOUT, STATE_VERSION]:
            raise StateError(
                f"Spark's state is of version {state['version']}, this program reads {[LAYOUT, STATE_VERSION]}",
                where="spark.path",
                remedy="run the version that wrote it, or start anew with a new state and spark.path: docs/spark.md, "
                "moving, says how nothing is lost by it",
            )
        if state["shards"] != self.cluster.shards:
            raise StateError(
                f"Spark's state is cut into {state['shards']} shards, the config says {self.cluster.shards}",
                where="spark.shards",
                remedy="how it is cut cannot change: set it back, or start anew with a new state and a new spark.path",
            )


class Dispatch(Intake):
    """Steps 2 and 3 on Spark: a turn's messages become a batch, and what came of their files comes back with it."""

    def __init__(self, remote: Remote, *edges: Any, **how: Any) -> None:
        super().__init__(*edges, **how)
        self._remote = remote
        self._note_sent()

    def read(self, messages: Sequence[Message]) -> Taken:
        """The messages in hand. What was sent before a crash comes first, by itself."""
        self._waiting += messages
        self._until = math.inf
        self._known = self._marked(self._waiting)
        taken, cluster, nothing = Taken(), self._remote.cluster, BatchBuilder()
        if cluster.waits:
            self._deal_with(cluster.receive(), taken)
            return taken
        if (came := self._sent_off()) is not None:
            self._deal_with(came, taken)
        while self._waiting:
            self._take(self._waiting.popleft(), nothing, taken)
            if self._drain.asked:
                break
        return taken

    def _sent_off(self) -> Came | None:
        """What comes of the files not read yet; None if there is nothing to send."""
        fresh = {mark_of(n): n for m in self._waiting for n in m.notices if mark_of(n) not in self._known}
        if self._drain.asked or not (fresh or self._due()):
            return None
        self._note_sent()
        return self._remote.read(fresh.values(), self.columns)

    def _note_sent(self) -> None:
        self._sent, self._sent_at = dict(self._remote.watermark.reached), self._monotonic()

    def _due(self) -> bool:
        """Whether event time went on, with nothing sent for a while."""
        new = any(at > self._sent.get(log, NEVER) for log, at in self._remote.watermark.reached.items())
        return new and self._monotonic() - self._sent_at >= IDLE

    def _deal_with(self, came: Came, taken: Taken) -> None:
        """Note what came of each file. A batch leaves a mark: whatever it found, it is in the next checkpoint."""
        taken.batch = self._remote.take_in(came)
        taken.marks.append(text_hash(f"batch\x1f{came.number}"))
        for outcome in came.outcomes:
            self._note(outcome, taken)

    def _note(self, outcome: Outcome, taken: Taken) -> None:
        notice = Notice(outcome.name, version=outcome.version)
        if outcome.lost:
            self._note_unfetched(notice, EdgeError(outcome.lost, retryable=outcome.passing), taken)
            return
        self._known.add(mark_of(notice))
        taken.marks.append(mark_of(notice))
        self._outbox.count("files")
        self._note_parsed(outcome.name, outcome.told)

    def _read_one(self, notice: Notice, builder: BatchBuilder, taken: Taken) -> bool:  # noqa: ARG002  it was read
        """Whether Spark has read it."""
        return mark_of(notice) in self._known


class Driver(Consumer):
    """The daemon's loop over `Remote`. ended: called when Spark is not needed any more."""

    engine: Remote

    def __init__(self, engine: Remote, *args: Any, ended: Callable[[], None], **how: Any) -> None:
        super().__init__(engine, *args, intake=partial(Dispatch, engine), **how)
        self._ended = ended

    def _adopt(self, book: Rulebook) -> bool:
        """As the daemon; but first what a crash left between Spark and the checkpoint, by the rules from before."""
        if self.engine.cluster.waits:
            self._count(self._intake.read(()), backlog=True)
        if self.engine.counts_by(book) and dict(book.files) == dict(self._book.files):
            return False
        self.engine.book = book
        return super()._adopt(book)

    def _meet(self, requests: AccessBatch) -> None:
        """The driver sees the newest records only: of who came from where it says nothing, so no network joins."""

    def stop(self) -> int:
        """As the daemon; then Spark's half ends."""
        left = super().stop()
        self.engine.cluster.end()
        self._ended()
        return left


def _digest(files: Mapping[str, str]) -> str:
    return sha256(msgspec.msgpack.encode(sorted(files.items()))).hexdigest()


def _whole(batches: Sequence[AccessBatch], rejects: Sequence[Reject] = ()) -> AccessBatch:
    """The records of shards as one batch."""
    full = [batch for batch in batches if len(batch)]
    whole = together(full) if full else BatchBuilder().build()
    return replace(whole, rejects=list(rejects))
