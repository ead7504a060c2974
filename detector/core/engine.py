"""The engine: one batch of records in, findings out. Pure: no I/O, no clock, no environment. Read this first.

    batch → dedup → skip → late? → every rule's watch: select → tally;  judge → findings;  advance → closed findings

Everything that a batch holds is accounted for in `Books`:
`records == access_events + duplicates + skipped + rejected`, after every batch.

The order of calls in the daemon is `process`, `judge`, `advance` once a poll and then `changes` for the checkpoint; in
replay `process` for every batch and `finish` once. CLOSED findings are the same, however the records were cut into
batches, ordered, repeated, or interrupted by `changes` and `restore`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from detector.core.access import AccessBatch, Log, Mask, Operation, Skip
from detector.core.books import Books
from detector.core.curve import Curve
from detector.core.dedup import Seen, ranks
from detector.core.finding import Finding
from detector.core.groupings import Groupings
from detector.core.ids import Ids
from detector.core.kinds.sequence import MOST_STEPS
from detector.core.part import MEMORY, Shelf, Spilling
from detector.core.people import People
from detector.core.rule import BaselineRule, Rule
from detector.core.tally import Pool
from detector.core.verdict import Verdict
from detector.core.view import BatchView
from detector.core.watermark import FOREVER, FUTURE_SLACK, NEVER, Watermark
from detector.errors import StateError

T = TypeVar("T")

STATE_VERSION = 4
MODEL_PARTS = ("pools", "roles", "keys", "bloom", "first", "readers", "today", "history")
OF_WATCHES = frozenset({"watch", "tally", "keys", "pane", "pane-keys", "model", "firsts", "since", "values"})
OF_WATCHES |= {"spans", "audited", "audited-keys", "heard", "arrived", "within"}
OF_WATCHES |= {"pane-texts", "pane-waiting"} | {f"model-{one}" for one in MODEL_PARTS}
OF_WATCHES |= {f"step{number}" for number in range(MOST_STEPS)}
"""Heads of the names of parts that belong to a rule."""
KEPT = ("copies/", "seen-contested/")
"""Beginnings of the names of parts that a second run goes on using."""
HORIZON = 48 * 3600
"""Seconds behind the watermark for which tallies, ids and identities are kept, so that late records are judged."""


class Holder(Protocol):
    """Something with state that goes into a checkpoint."""

    def forget_before(self, second: int) -> None:
        """Let go of what only records before this second could change."""

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""

    def changes(self) -> dict[str, bytes | None]:
        """Checkpoint parts that came or went since the last call."""

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on where a checkpoint stopped."""


class Watch(Holder, Protocol):
    """State of one rule: what a rule kind has to offer."""

    @property
    def rule(self) -> Rule: ...
    def share(self, pool: Pool) -> None:
        """Hold what another rule counts just so together with it, in `pool`."""

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Count a batch."""

    def judge(self) -> list[Finding]:
        """Findings that what was absorbed so far suffices for."""

    def advance(self, watermark: int) -> list[Finding]:
        """Findings that event time having passed `watermark` brings: closed ones above all."""

    def reads(self) -> tuple[Log, ...]:
        """Kinds of log the rule reads."""

    def learning(self) -> bool:
        """Whether it knows too little yet to find anything."""

    def curve(self, finding: Finding) -> Curve | None:
        """How the value behind one of its findings went."""

    def take(self, rule: Any) -> None:
        """From now on the rule is worded so, or has these exceptions; what it counts (its digest) is the same."""

    def mark(self, verdict: Verdict) -> str:
        """A person has said what a finding was; what that changes, for people."""

    def end(self) -> list[Finding]:
        """The rule is no more: close what is open, with the figures so far."""

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""


MakeWatch = Callable[[Rule, People], Watch]


class Engine:
    """All rules over one stream of batches.

    `best_copies` (replay): of differing copies of a record keep the best; `needs_second_run` then tells whether that
    takes a second run, made with what `second_run` gives as `preferred` and `copies`.

    With a `shelf` its state holds about `memory` bytes at most, and the rest is read from the last checkpoint.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        make_watch: MakeWatch,
        *,
        watermark: Watermark | None = None,
        horizon: int = HORIZON,
        best_copies: bool = False,
        preferred: Ids | None = None,
        copies: Seen | None = None,
        memory: int = MEMORY,
        shelf: Shelf | None = None,
    ) -> None:
        self.watermark = watermark or Watermark()
        self.people = People(slack=horizon // 2 // 3600)
        self.books = Books()
        self.failures: dict[str, str] = {}
        self.logs_seen: set[Log] = set()
        self._groupings = Groupings()
        self._internal_before_copy = False
        self._make_watch = make_watch
        self._watches = [make_watch(rule, self.people) for rule in rules]
        pool: Pool = {}
        for watch in self._watches:
            watch.share(pool)
        self._left: set[str] = set()
        self._taught: dict[str, bytes] = {}
        self._seen = Seen("seen", preferred)
        self._copies = copies or Seen("copies")
        self._internal = Seen("internal")
        self._horizon = horizon
        self._best_copies = best_copies
        self._forgotten = NEVER
        self._memory, self._shelf = memory, shelf
        self._spilling = [*dict.fromkeys(one for holder in self._holders() for one in holder.spilling())]
        if shelf is not None:
            for one in self._spilling:
                one.lean_on(shelf, memory // 2 // len(self._spilling))
            self._seen.spilling()[0].lean_on(shelf, memory // 2)

    @property
    def needs_second_run(self) -> bool:
        """Whether a worse copy of a record was counted before a better one, or an internal read before its copy."""
        return self._seen.miscounted or self._internal_before_copy

    @property
    def copies_differ(self) -> bool:
        """Whether copies of a record came that differ in what the rules look at."""
        return self._seen.contests

    def second_run(self) -> dict[str, Any]:
        """What a second run over the same data needs to know to be independent of order: arguments of the Engine."""
        return {"preferred": self._seen.contested, "copies": self._copies}

    def process(self, batch: AccessBatch, now: int) -> AccessBatch:
        """Count a batch; the access events in it, duplicates and skipped rows left out. `now`: epoch seconds."""
        events = self._admit(batch)
        self.watermark.observe(batch, now)
        self.count(events, now)
        return events

    def count(self, events: AccessBatch, now: int) -> None:
        """Count access events: those of `process`, or those that another engine has let through."""
        if not len(events):
            return
        late = self._late(events)
        view = BatchView(events, self._groupings, now + FUTURE_SLACK)
        self.people.meet(view)
        for watch in self._watches:
            self._guard(watch, lambda watch=watch: watch.absorb(view, late), None)  # type: ignore[misc]

    def lean_on_shelf(self, *state: Spilling) -> None:
        """Further state, of a later pass over the same records, that shares the memory with this one's."""
        if self._shelf is not None:
            for one in state:
                one.lean_on(self._shelf, self._memory // 4)
            self._spilling += [one for one in state if one not in self._spilling]

    def distinct(self, batch: AccessBatch, seen: Seen, columns: frozenset[str]) -> AccessBatch:
        """The access events that `seen` has not met yet: for a later pass over records this engine has counted.

        columns: those that the engine saw. Of copies that agree in them, those are shown that are best in all of the
        batch's.
        """
        if self.copies_differ:
            batch = batch.take(np.flatnonzero(~self._seen.refuses(batch.id, ranks(batch.cut(columns)))))
        duplicate = seen.judge(batch.id, ranks(batch), batch.time, best_of_batch=True).duplicate
        internal = self._internal_reads(batch)
        return batch.take(np.flatnonzero((batch.skip == Skip.no) & ~duplicate & ~internal))

    def learning(self) -> list[str]:
        """Ids of the rules that know too little yet to find anything."""
        return sorted(watch.rule.id for watch in self._watches if watch.learning())

    def judge(self) -> list[Finding]:
        """What the records so far suffice for: opened, updated and corrected findings."""
        nothing: list[Finding] = []
        return [f for watch in self._watches for f in self._guard(watch, watch.judge, nothing)]

    def advance(self, now: int, *, backlog: bool) -> list[Finding]:
        """Move event time on; what closes thereby. `backlog`: old records are still waiting, so time stands still."""
        self.watermark.advance(now, backlog=backlog)
        return self._advanced()

    def finish(self) -> list[Finding]:
        """The data ends here: judge and close everything. Records that come all the same are judged as late ones."""
        judged = self.judge()
        reached = dict(self.watermark.reached)
        self.watermark.close()
        closed = self._advanced()
        self.watermark.reached = reached
        return judged + closed

    def adopt(self, rules: Sequence[Rule]) -> list[Finding]:
        """From now on these rules count; the closed findings of those that are no more.

        A rule that counts what it counted (its digest) keeps its windows, open findings, alert ids and evidence, also
        if its wording or exceptions changed. Any other begins empty. One that is no more, or counts something else, is
        ended: what is open is closed with the figures so far, and its parts leave the checkpoint.
        """
        before = {watch.rule.id: watch for watch in self._watches}
        after = []
        for rule in rules:
            watch = before.get(rule.id)
            if watch is not None and watch.rule.digest() == rule.digest():
                del before[rule.id]
                self._guard(watch, lambda watch=watch, rule=rule: watch.take(rule), None)  # type: ignore[misc]
            else:
                watch = self._begun(rule)
            after.append(watch)
        self._watches = after
        changed = {rule.id for rule in rules}
        return [f for w in before.values() for f in self._ended(w, "changed" if w.rule.id in changed else "removed")]

    def learners(self, second: int) -> dict[str, set[str]]:
        """Ids of the rules that learn, and the names of their parts once what lies before this second was let go of."""
        learners = [
            watch for watch in self._watches if isinstance(watch.rule, BaselineRule) and not watch.rule.detector
        ]
        for watch in learners:
            watch.forget_before(second)
        return {watch.rule.id: watch.names() for watch in learners}

    def teach(self, rule_id: str, parts: Mapping[str, bytes]) -> bool:
        """Let a rule that has just begun go on where another engine's parts say; whether anything was taught.

        The parts are in the next checkpoint, where the rule expects them.
        """
        if (watch := self._watch_of(rule_id)) is not None:
            watch.restore(parts)
            self._taught |= parts
        return bool(parts)

    def mark(self, verdict: Verdict) -> str:
        """A person has said what a finding was; what its rule does about that, for people."""
        watch = self._watch_of(verdict.rule_id)
        if watch is None:
            return "there is no such rule any more"
        return self._guard(watch, lambda: watch.mark(verdict), "the rule failed")

    def curve(self, finding: Finding) -> Curve | None:
        """How the value behind a finding went, as far as it is still known; None: its kind has none, or it failed."""
        watch = self._watch_of(finding.rule_id)
        return None if watch is None else self._guard(watch, lambda: watch.curve(finding), None)

    def changes(self) -> dict[str, bytes | None]:
        """Checkpoint parts that came (bytes) or went (None) since the last call."""
        self._tidy()
        parts: dict[str, bytes | None] = dict.fromkeys(self._left)  # first: a changed rule uses the same names again
        self._left = set()
        parts |= self._taught
        self._taught = {}
        parts["engine"] = msgspec.msgpack.encode(self._state())
        for holder in self._holders():
            parts |= holder.changes()
        return parts

    def saved(self) -> None:
        """What `changes` just gave lies on the shelf now: memory lets go of what is more than it may hold."""
        for one, most in self._shares():
            one.let_go(most)

    def spill(self, save: Callable[[dict[str, bytes | None]], None]) -> None:
        """Replay, which makes no checkpoints: save what has to leave memory, if there is more than memory may hold."""
        for one, most in self._shares():
            one.tidy(most)
            save(one.leaving(most))
            one.let_go(most)

    def held(self) -> int:
        """Bytes of its state in memory."""
        return sum(one.held() for one in self._spilling)

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on where a checkpoint stopped. Raises StateError if it is of another version."""
        if "engine" not in parts:
            return
        state = msgspec.msgpack.decode(parts["engine"])
        if state["version"] != STATE_VERSION:
            raise StateError(
                f"the checkpoint is of version {state['version']}, this program reads version {STATE_VERSION}",
                remedy="run the version that wrote it, or start with a new state file (open windows start anew)",
            )
        self.books = Books.of(state["books"])
        self.logs_seen = {Log(log) for log in state["logs_seen"]}
        self.watermark.restore(state["watermark"])
        self._forgotten = state["forgotten"]
        for holder in self._holders():
            holder.restore(parts)
        known = {name for watch in self._watches for name in watch.names()}
        self._left = {name for name in parts if name.partition("/")[0] in OF_WATCHES and name not in known}

    def _watch_of(self, rule_id: str) -> Watch | None:
        return next((watch for watch in self._watches if watch.rule.id == rule_id), None)

    def _begun(self, rule: Rule) -> Watch:
        """A watch with nothing in it."""
        watch = self._make_watch(rule, self.people)
        for one in watch.spilling():
            if self._shelf is not None:
                one.lean_on(self._shelf, self._memory // 2 // len(self._spilling))
            self._spilling.append(one)
        return watch

    def _ended(self, watch: Watch, why: str) -> list[Finding]:
        """Let go of a watch; what was open."""
        nothing: list[Finding] = []
        told = self._guard(watch, watch.end, nothing)
        self.failures.pop(watch.rule.id, None)
        gone = watch.spilling()
        self._spilling = [one for one in self._spilling if all(one is not other for other in gone)]
        self._left |= watch.names()
        end = f" Ended early: the rule was {why}, and this is what it had counted until then."
        return [
            replace(f, explanation=f.explanation + end, details=f.details | {"ended_by": f"rule {why}"}) for f in told
        ]

    def _shares(self) -> list[tuple[Spilling, int]]:
        """Where more is held than may be: what each part of the state may go on holding, half of it all together."""
        every = [(one, one.held()) for one in self._spilling] if self._shelf is not None else []
        total = sum(held for _, held in every)
        return [(one, held * self._memory // 2 // total) for one, held in every] if total > self._memory else []

    def _tidy(self) -> None:
        for one, most in self._shares():
            one.tidy(most)

    def _holders(self) -> list[Holder]:
        return [self._seen, self._copies, self._internal, self.people, *self._watches]

    def _state(self) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "books": {f.name: getattr(self.books, f.name) for f in fields(self.books)},
            "logs_seen": sorted(self.logs_seen),
            "watermark": self.watermark.snapshot(),
            "forgotten": self._forgotten,
        }

    def _admit(self, batch: AccessBatch) -> AccessBatch:
        """Book every record and let the access events through."""
        books = self.books
        books.records += len(batch) + len(batch.rejects)
        books.rejected.update(r.reason for r in batch.rejects)
        if not len(batch):
            return batch
        self.logs_seen.update(Log(int(log)) for log in np.unique(batch.log))
        books.span(batch.time[batch.time > 0])
        verdict = self._seen.judge(batch.id, ranks(batch), batch.time, best_of_batch=self._best_copies)
        books.duplicates += int(verdict.duplicate.sum())
        books.duplicates_differing += int(verdict.differing.sum())
        skip = np.where(self._internal_reads(batch), np.int8(Skip.internal_read_of_copy), batch.skip)
        skipped = (skip != Skip.no) & ~verdict.duplicate
        codes, counts = np.unique(skip[skipped], return_counts=True)
        books.skipped.update({Skip(int(code)).name: int(count) for code, count in zip(codes, counts, strict=True)})
        events = batch.take(np.flatnonzero((skip == Skip.no) & ~verdict.duplicate))
        books.access_events += len(events)
        if len(events):
            books.unresolved_bucket += int(events.unresolved.sum())
        return events

    def _internal_reads(self, batch: AccessBatch) -> Mask:
        """Reads that AWS made for a copy whose own record is known: they are that copy, seen a second time."""
        linked: Mask = batch.link != 0
        if not linked.any():
            return linked
        copies = linked & (batch.operation == Operation.copy)
        reads = np.flatnonzero(linked & ~copies)
        self._copies.remember(batch.link[copies], batch.time[copies])
        known = self._copies.contains(batch.link[reads])
        self._internal_before_copy |= bool(self._internal.contains(batch.link[copies]).any())
        self._internal.remember(batch.link[reads[~known]], batch.time[reads[~known]])
        mask = np.zeros(len(batch), np.bool_)
        mask[reads[known]] = True
        return mask

    def _late(self, events: AccessBatch) -> Mask:
        level = np.array([self.watermark.of(log) for log in Log], np.int64)
        late = events.time < level[events.log]
        self.books.late += int(late.sum())
        return late

    def _advanced(self) -> list[Finding]:
        news: list[Finding] = []
        for watch in self._watches:
            level = self._level(watch)
            if level > NEVER:
                news += self._guard(watch, lambda watch=watch, level=level: watch.advance(level), [])  # type: ignore[misc]
        self._forget()
        return news

    def _level(self, watch: Watch) -> int:
        """The watermark a rule closes on: the slowest kind of log it reads, of those that have been seen."""
        reached = [self.watermark.of(log) for log in watch.reads() if log in self.watermark.reached]
        return min(reached, default=NEVER)

    def _forget(self) -> None:
        oldest = min(self.watermark.reached.values(), default=NEVER) - self._horizon
        hour = oldest // 3600
        if oldest <= 0 or oldest > FOREVER // 2 or hour <= self._forgotten:
            return
        self._forgotten = hour
        reach = max((watch.rule.reach for watch in self._watches), default=0)
        for holder in self._holders():
            holder.forget_before(oldest - reach if holder is self.people else oldest)

    def _guard(self, watch: Watch, step: Callable[[], T], otherwise: T) -> T:
        """A rule that fails must not stop the others, and must not look like "no match": it is reported."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001  whatever it is, it becomes an alarm
            self.failures[watch.rule.id] = f"{type(error).__name__}: {error}"
            return otherwise
