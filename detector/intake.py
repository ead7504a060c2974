"""Steps 2 and 3 of the daemon's loop: what a poll's messages bring, fetched side by side, read one after the other.

Rules of this file
- Files are read in the order of their messages, whichever of them comes first: the same poll makes the same batch.
- Memory is bounded: so many bytes fetched and not yet read (`Fetching`), so many records a batch (`ROWS`); so is the
  time of a turn (`SECONDS`). Messages beyond that stay in hand for the next turn; nothing new is received before.
- A message that cannot be used, or whose file can never be had, is journalled once, however often it comes. Its bytes
  are in quarantine before the checkpoint that knows it. Where the queue has a dead-letter queue it is left to that.
- Records that came in messages are read as one file: one event a message must not cost a file each.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from detector.core.access import U64, AccessBatch, text_hash
from detector.core.admit import Admission
from detector.core.builder import BatchBuilder
from detector.core.dedup import Seen
from detector.core.projection import OF_EVIDENCE
from detector.drain import Drain, Hurry
from detector.edges import Edges
from detector.errors import EdgeError
from detector.logs.envelope import joined
from detector.logs.limits import Limits
from detector.logs.read import CLOUDTRAIL, fallible, identify, read
from detector.outbox import Outbox, Say
from detector.source import Message, Notice

ROWS = 100_000
"""Records after which a batch is closed; the file that passes it is still read whole."""
SECONDS = 30.0
"""Seconds after which a batch is closed: what was read counts, and blindness is looked for, however slow S3 is."""
JOINED = 8 << 20
"""Bytes of inline records that are read as one file."""
KEPT = 1 << 20
"""Bytes that the quarantine keeps of one message: as much as one may have."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """threads: files fetched at the same time (1: by the loop itself). memory: bytes fetched and not yet read."""

    threads: int = 1
    memory: int = 64 << 20


@dataclass(slots=True)
class Taken:
    """What came of one turn's messages.

    messages: dealt with, without those known to be unusable. done: the source may forget them. left: it may deliver
    them again. marks: of files counted, and of what was journalled and is not to be journalled again.
    """

    messages: list[Message] = field(default_factory=list)
    done: list[Message] = field(default_factory=list)
    left: list[Message] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    batch: AccessBatch = field(default_factory=lambda: BatchBuilder().build())

    @property
    def marked(self) -> U64:
        return np.array(self.marks, np.uint64)


class Loader:
    """Fetches files ahead, side by side, and hands them out in the order planned.

    How large a file is, its notice announces; a file that does not say is taken for a thread's share of the memory.
    The file whose turn it is is fetched however large it is: nothing waits for memory that only it could free.
    """

    def __init__(self, fetch: Callable[[Notice], bytes], fetching: Fetching) -> None:
        self._fetch, self._fetching = fetch, fetching
        self._pool = ThreadPoolExecutor(fetching.threads, "fetch") if fetching.threads > 1 else None
        self._planned: deque[Notice] = deque()
        self._flying: deque[tuple[Notice, Future[bytes]]] = deque()

    def plan(self, notices: Iterable[Notice]) -> None:
        """These will be asked for, in this order."""
        if self._pool:
            self._planned += (notice for notice in notices if notice.data is None)
            self._launch()

    def get(self, notice: Notice) -> bytes:
        """A file's bytes. Raises EdgeError."""
        if self._pool is None or notice.data is not None:
            return self._fetch(notice)
        while True:
            self._launch()
            if not self._flying:
                return self._fetch(notice)
            first, coming = self._flying[0]
            try:
                if first is notice:
                    return coming.result()
            finally:
                self._flying.popleft()
                self._launch()

    def close(self) -> None:
        """End the threads; what is on its way comes to nothing."""
        self._planned.clear()
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def held(self) -> int:
        """Bytes fetched or announced, and not handed out yet."""
        return sum(self._size(notice, coming) for notice, coming in self._flying)

    def _launch(self) -> None:
        pool, most = self._pool, 2 * self._fetching.threads
        while pool and self._planned and len(self._flying) < most:
            if self._flying and self.held() + self._size(self._planned[0]) > self._fetching.memory:
                return
            notice = self._planned.popleft()
            self._flying.append((notice, pool.submit(self._fetch, notice)))

    def _size(self, notice: Notice, coming: Future[bytes] | None = None) -> int:
        if coming is not None and coming.done() and not coming.cancelled() and coming.exception() is None:
            return len(coming.result())
        return notice.size or self._fetching.memory // self._fetching.threads


class Intake:
    """Messages in, one batch a turn out. files: marks of the checkpoint. `columns`: what is read of records.

    Once the daemon is to end, files not read yet stay with the source.
    """

    def __init__(
        self,
        edges: Edges,
        outbox: Outbox,
        files: Seen,
        admission: Admission,
        limits: Limits,
        fetching: Fetching,
        *,
        say: Say,
        drain: Drain,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic, self._until = monotonic, 0.0
        self._edges, self._outbox, self._files, self._say, self._drain = edges, outbox, files, say, drain
        self._admission, self._limits = admission, limits
        self.columns = OF_EVIDENCE
        self._loader = Loader(self._fetch, fetching)
        self._waiting: deque[Message] = deque()
        self._known: set[int] = set()
        self._inline: list[Notice] = []

    def __len__(self) -> int:
        """Messages in hand that are not read yet."""
        return len(self._waiting)

    def read(self, messages: Sequence[Message]) -> Taken:
        """As many of the messages in hand, and then of these, as make a batch."""
        self._waiting += messages
        self._known = self._marked(self._waiting)
        if not self._drain.asked:
            self._loader.plan(n for m in messages for n in m.notices if mark_of(n) not in self._known)
        builder, taken = BatchBuilder(self.columns), Taken()
        size = 0
        self._until = self._monotonic() + SECONDS
        while self._waiting and not self._full(builder):
            message = self._waiting.popleft()
            self._take(message, builder, taken)
            if self._drain.asked:  # what is in hand stays there: the source gives it to whoever comes next
                break
            size = size + sum(len(n.data or b"") for n in message.notices) if self._inline else 0
            if size > JOINED:
                self._read_inline(builder)
        self._read_inline(builder)
        taken.batch = self._admission.apply(builder.build())
        return taken

    def close(self) -> None:
        """Let go of threads."""
        self._loader.close()

    def _fetch(self, notice: Notice) -> bytes:
        return self._edges.source.fetch(notice)

    def _marked(self, messages: Iterable[Message]) -> set[int]:
        """Which marks of these messages the checkpoint knows."""
        marks = [mark_of(n) for m in messages for n in m.notices]
        marks += [_poisoned(message) for message in messages if message.problem]
        asked = np.array(marks, np.uint64)
        return set(asked[self._files.contains(asked)].tolist()) if marks else set()

    def _take(self, message: Message, builder: BatchBuilder, taken: Taken) -> None:
        if message.problem:
            self._put_aside(message, taken)
            return
        fresh, whole = 0, True
        for notice in message.notices:
            if fresh and self._full(builder):  # what was read of it is known when its turn comes again
                self._waiting.appendleft(message)
                return
            fresh += mark_of(notice) not in self._known
            whole &= self._read_one(notice, builder, taken)
        taken.messages.append(message)
        if whole:
            taken.done.append(message)
        elif self._drain.asked:
            self._waiting.appendleft(message)
        else:
            taken.left.append(message)

    def _full(self, builder: BatchBuilder) -> bool:
        """Whether a batch has enough records, or took long enough."""
        return builder.rows + len(self._inline) >= ROWS or self._monotonic() >= self._until

    def _put_aside(self, message: Message, taken: Taken) -> None:
        """A message that is not understood or refused: into quarantine, into the journal, to the dead letters."""
        mark, redrives = _poisoned(message), self._edges.source.redrives
        if mark not in self._known:
            try:
                kept = self._quarantine(message.body)
            except Hurry:
                self._waiting.appendleft(message)
                return
            except EdgeError as error:
                self._say("quarantine_failed", message=message.id, error=str(error))
                if error.retryable:
                    taken.messages.append(message)
                    taken.left.append(message)
                    return
                kept = {"kept": f"nowhere: {error.what}"}
            self._known.add(mark)
            taken.marks.append(mark)
            taken.messages.append(message)
            self._outbox.count("quarantined")
            self._outbox.note("quarantine", {"message": message.id, "reason": message.problem} | kept)
        (taken.left if redrives else taken.done).append(message)

    def _read_one(self, notice: Notice, builder: BatchBuilder, taken: Taken) -> bool:
        """Read one log file; whether the source may forget it."""
        mark = mark_of(notice)
        if mark in self._known:
            return True
        if self._drain.asked:
            return False
        try:
            with self._drain.edge():
                data = self._loader.get(notice)
        except Hurry:
            return False
        except EdgeError as error:
            self._note_unfetched(notice, error, taken)
            return False
        self._known.add(mark)
        taken.marks.append(mark)
        self._outbox.count("files")
        if notice.data is not None and identify(data)[0] == CLOUDTRAIL:
            self._inline.append(notice)
        else:
            self._parse(data, notice.name, builder)
        return True

    def _note_unfetched(self, notice: Notice, error: EdgeError, taken: Taken) -> None:
        """What another try may bring is only said; what none will is journalled, once for a file."""
        self._outbox.count("fetch_failures")
        self._say("fetch_failed", file=notice.name, error=str(error), again=error.retryable)
        mark = _unfetched(notice)
        if error.retryable or mark in taken.marks or self._files.contains(np.array([mark], np.uint64))[0]:
            return
        taken.marks.append(mark)
        self._outbox.note("unfetched", {"file": notice.name, "reason": error.what})

    def _read_inline(self, builder: BatchBuilder) -> None:
        """Records of many messages as one file. If one of them is not in order, each message as a file of its own."""
        inline, self._inline = self._inline, []
        if len(inline) > 1:
            before, mark = len(builder.rejects), builder.mark()
            try:
                reading = read(joined([n.data or b"" for n in inline]), "sqs", builder, self._limits)
                if reading.kind and not reading.damage and len(builder.rejects) == before:
                    return
            except Exception:  # noqa: BLE001  whose fault it is shows below
                self._say("read_singly", messages=len(inline))
            builder.undo(mark)
        for notice in inline:
            self._parse(notice.data or b"", notice.name, builder)

    def _parse(self, data: bytes, name: str, builder: BatchBuilder) -> None:
        """Read a log file into the builder."""
        self._note_parsed(name, fallible(data, name, builder, self._limits), data)

    def _note_parsed(self, name: str, told: Mapping[str, str], data: bytes = b"") -> None:
        """Journal what people are to know of a log file. data: its bytes, as far as they can be put aside."""
        for what, reason in told.items():
            kept = {}
            if what == "quarantine":
                self._outbox.count("quarantined")
                self._say("file_quarantined", file=name, error=reason)
                kept = self._quarantine_file(data, name)
            self._outbox.note(what, {"file": name, "reason": reason} | kept)

    def _quarantine_file(self, data: bytes, name: str) -> dict[str, str]:
        """A log file stays where it was, too: that it could not be copied holds nothing up."""
        try:
            return self._quarantine(data)
        except (EdgeError, Hurry) as error:
            self._say("quarantine_failed", file=name, error=str(error) or "the daemon had to end")
            return {}

    def _quarantine(self, data: bytes) -> dict[str, str]:
        """Where the bytes are kept. Raises EdgeError."""
        if not data or self._edges.quarantine is None:
            return {}
        self._edges.insist()
        with self._drain.edge():
            return {"kept": self._edges.quarantine.put(sha256(data).hexdigest(), data[:KEPT], once=True)}


def mark_of(notice: Notice) -> int:
    """What a checkpoint knows a file by that was counted."""
    return text_hash(f"{notice.name}\x1f{notice.version}")


def _unfetched(notice: Notice) -> int:
    return text_hash(f"unfetched\x1f{notice.name}\x1f{notice.version}")


def _poisoned(message: Message) -> int:
    return text_hash(f"message\x1f{message.id}\x1f{message.problem}")
