"""The daemon with Spark to count: its loop, outbox, journal and lease are the daemon's own; a batch is a turn.

    1 receive → manifest → 2-4 on Spark → 5 checkpoint (with outbox) → Spark commits → 6 journal → 7 publish
    → 9 acknowledge

Rules of this file
- Only the driver tells anybody anything, under the daemon's lease. Executors read log files and count.
- What a batch found is in the daemon's checkpoint before Spark commits the batch (`cluster.py`). A crash before that:
  Spark runs the same manifest again. A crash after it: what comes again is known by its number, and dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from detector.consumer import Consumer
from detector.core.access import AccessBatch, text_hash
from detector.core.builder import BatchBuilder
from detector.core.watermark import NEVER
from detector.errors import EdgeError
from detector.intake import Intake, Taken, mark_of
from detector.rules import Rulebook
from detector.source import Message, Notice
from replay.spark.came import Came
from replay.spark.remote import Remote
from replay.spark.stages import Outcome

IDLE = 30.0
"""Seconds without log files after which a batch without any is sent, if event time went on meanwhile."""


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
