"""The engine as the daemon's loop sees it, where Spark counts: books and watermark are here, windows in the shards.

Rules of this file
- The driver keeps the watermark, from the newest records of every partition. A batch is judged by where it stood before
  the batch, as in the daemon; what may close by where it stands after it closes with the next batch.
- Rules that change are an order in a manifest, too, as is the end of the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from detector.core.access import AccessBatch
from detector.core.books import Books
from detector.core.engine import STATE_VERSION, Engine
from detector.core.finding import Finding
from detector.core.rule import Rule
from detector.core.watermark import Watermark
from detector.errors import StateError
from detector.rules import Rulebook
from detector.source import Notice
from detector.watches import watches
from replay.spark.came import Came, whole
from replay.spark.cluster import Cluster
from replay.spark.manifest import LogFile
from replay.spark.parts import LAYOUT, check

PART = "spark"
"""The part of the daemon's checkpoint that says how far Spark's results are in it."""
_DECODE = msgspec.msgpack.Decoder().decode


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
        return whole(came.seen, came.rejects)

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
        return whole(came.named)

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
        return self._batch(sorted(columns), [LogFile.of(one) for one in files])

    def _ask(self, **order: Any) -> list[Finding]:
        """A batch without log files; what it finds."""
        self.process(self.take_in(self._batch(**order)), int(self.clock()))
        return self.judge()

    def _batch(self, *read: Any, **order: Any) -> Came:
        self.cluster.send(*read, now=int(self.clock()), reached=self.watermark.reached, **order)
        return self.cluster.receive()

    def _check(self, state: Mapping[str, Any]) -> None:
        layout, engine = state["version"]
        check(layout)
        if engine != STATE_VERSION:
            raise StateError(
                f"the engine's part of Spark's state is of version {engine}, this program reads version "
                f"{STATE_VERSION}",
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


def _digest(files: Mapping[str, str]) -> str:
    return sha256(msgspec.msgpack.encode(sorted(files.items()))).hexdigest()
