"""What the daemon sees of its own sight, turn by turn: from engine, batch and canaries to signs of blindness."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from detector.blindness import Blindness, Limits, Look, Sign
from detector.canary import Canaries
from detector.core.access import AccessBatch
from detector.core.books import Books
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.globs import glob
from detector.core.watermark import NEVER
from detector.errors import EdgeError
from detector.source import Message, Probe

COLUMNS = frozenset({"bucket", "key"})
"""What has to be read of records."""
TIGHT, EASY = 0.9, 0.8
"""Share of the memory it may have from which on it is a sign, and below which it is none any more."""
KNOWN = 10_000
"""Names of buckets that are remembered to be protected or not."""


class Counted(NamedTuple):
    """Of one turn: records in all, those that could not be read, and those whose bucket is not known."""

    records: int
    rejected: int
    unresolved: int

    @classmethod
    def of(cls, books: Books) -> Counted:
        """What books say so far."""
        return cls(books.records, books.rejected.total(), books.unresolved_bucket)

    def since(self, before: Counted) -> Counted:
        """What came to it."""
        return Counted(*(now - then for now, then in zip(self, before, strict=True)))


class Sight:
    """Signs of blindness and canaries, joined with the engine.

    protected: globs of buckets. probe: reads canaries. memory: bytes the process has, and may have (0: not known).
    """

    def __init__(
        self,
        limits: Limits,
        protected: Sequence[str] = (),
        canaries: Canaries | None = None,
        probe: Probe | None = None,
        memory: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self.blindness = Blindness(limits)
        self.canaries = canaries
        self._probe = probe
        self._memory, self._tight = memory, False
        self._globs = {pattern: glob([pattern]) for pattern in protected}
        self._unmatched = set(self._globs)
        self._protected: dict[str, bool] = {}
        self.rule_problems: Sequence[str] = ()

    def start(self, now: int, asleep: int) -> None:
        """The daemon starts, after so many seconds in which it did not run."""
        self.blindness.start(now, asleep)
        self._unmatched -= {p for p, found in self._globs.items() if any(map(found.fullmatch, self.blindness.heard()))}
        if self.canaries:
            self.canaries.asleep(asleep)

    def look(
        self, engine: Engine, counted: Counted, events: AccessBatch, messages: Sequence[Message], now: int
    ) -> list[Finding]:
        """One turn: the messages, how many records were read out of them, and the access events among these.

        That the application tells of a bucket does not mean that AWS's logs do.
        """
        events = events.requests()
        partitions = {f"{log.name} {name}": p.heard_at for (log, name), p in engine.watermark.partitions.items()}
        watermark = engine.watermark
        reached = {log: at for log, at in watermark.reached.items() if at > NEVER}
        canaries = self.canaries
        if canaries:
            canaries.meet(events, now)
            self._read_canaries(canaries, now)
        seen = Look(
            now=now,
            delivered=bool(messages),
            lag={log.name: now - at - watermark.lateness[log] - watermark.idle_after for log, at in reached.items()},
            partitions=partitions,
            buckets=self._named(events),
            unmatched=sorted(self._unmatched),
            records=counted.records,
            rejected=counted.rejected,
            refused=sum(bool(message.problem) for message in messages),
            unresolved=counted.unresolved,
            failures=engine.failures,
            further=[*(canaries.signs(now) if canaries else ()), *self._of_rules(), *self._of_memory()],
        )
        return self.blindness.look(seen)

    def values(self) -> dict[str, float]:
        """Metrics (see `metrics.METRICS`)."""
        used, limit = self._memory()
        return {
            "memory_bytes": used,
            "memory_limit_bytes": limit,
            "blind": len(self.blindness),
            "canary_delay_seconds": self.canaries.delay() if self.canaries else -1,
        }

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint."""
        parts: dict[str, bytes | None] = {"blindness": self.blindness.snapshot()}
        if self.canaries:
            parts["canaries"] = self.canaries.snapshot()
        return parts

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint."""
        if "blindness" in parts:
            self.blindness.restore(parts["blindness"])
        if self.canaries and "canaries" in parts:
            self.canaries.restore(parts["canaries"])

    def _of_rules(self) -> Iterator[Sign]:
        if problems := self.rule_problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            told = f"the rule files cannot be used, the rules from before still count: {problems[0][:500]}{more}"
            yield Sign("blind-rules", "rule files", len(problems), 1, told)

    def _of_memory(self) -> Iterator[Sign]:
        used, limit = self._memory()
        self._tight = limit > 0 and used > limit * (EASY if self._tight else TIGHT)
        if self._tight:
            told = f"the daemon has {used >> 20:,} MiB of the {limit >> 20:,} MiB that it may have"
            yield Sign("low-memory", "memory", used, int(limit * TIGHT), told)

    def _read_canaries(self, canaries: Canaries, now: int) -> None:
        for place in canaries.due(now) if self._probe else ():
            try:
                self._probe.read(place.bucket, place.key)  # type: ignore[union-attr]  # there is one
            except EdgeError as error:
                canaries.was_read(place, now, str(error))
            else:
                canaries.was_read(place, now)

    def _named(self, events: AccessBatch) -> list[str]:
        """Protected buckets that these events name."""
        column = events.text["bucket"]
        names = [column.values[code] for code in np.unique(column.codes).tolist() if code >= 0]
        return [name for name in names if self._is_protected(name)]

    def _is_protected(self, name: str) -> bool:
        known = self._protected.get(name)
        if known is None:
            matching = [pattern for pattern, expression in self._globs.items() if _matches(expression, name)]
            self._unmatched -= set(matching)
            known = bool(matching)
            if len(self._protected) < KNOWN:
                self._protected[name] = known
        return known


def _matches(expression: re.Pattern[str], name: str) -> bool:
    return expression.fullmatch(name) is not None
