"""How far event time has come: below the watermark everything has arrived, as far as anyone can know. Pure.

Per kind of log: the minimum over its active partitions (account, region) of the greatest event time seen, minus that
kind's lateness. The clock is an argument. A partition from which nothing has come for `idle_after` seconds leaves the
minimum (and is reported); when all are idle the watermark goes on with the clock. It never goes back, and it stands
still while a backlog is being drained: what is old there is not late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.core.access import AccessBatch, Log

NEVER = -(1 << 62)
FOREVER = 1 << 62
FUTURE_SLACK = 300
"""Event times more than this many seconds ahead of the clock count as the clock's: a wrong clock must not close all."""
LATENESS = {Log.cloudtrail: 1200, Log.server_access: 6 * 3600, Log.access_audit: 3600}
IDLE_AFTER = 3600


@dataclass(slots=True)
class Partition:
    """Greatest event time seen, and when (clock) something last came. Epoch seconds."""

    event_time: int
    heard_at: int


@dataclass(slots=True)
class Watermark:
    """Event-time progress of all kinds of log."""

    lateness: Mapping[Log, int] = field(default_factory=lambda: dict(LATENESS))
    idle_after: int = IDLE_AFTER
    partitions: dict[tuple[Log, str], Partition] = field(default_factory=dict)
    reached: dict[Log, int] = field(default_factory=dict)

    def observe(self, batch: AccessBatch, now: int) -> None:
        """Take note of the newest event of every partition in the batch."""
        names = batch.partition
        for log in np.unique(batch.log):
            of_log = (batch.log == log) & (batch.time > 0)
            for code in np.unique(names.codes[of_log]):
                newest = int(batch.time[of_log & (names.codes == code)].max())
                self._hear((Log(int(log)), names.values[code]), min(newest, now + FUTURE_SLACK), now)

    def advance(self, now: int, *, backlog: bool) -> dict[Log, int]:
        """The watermark of every kind of log seen so far."""
        for log in {log for log, _ in self.partitions}:
            self.reached.setdefault(log, NEVER)
            if not backlog:
                self.reached[log] = max(self.reached[log], self._level(log, now) - self.lateness[log])
        return dict(self.reached)

    def close(self) -> dict[Log, int]:
        """Move every watermark past the end of the data: nothing more will come."""
        self.reached = dict.fromkeys(Log, FOREVER)
        return dict(self.reached)

    def of(self, log: Log) -> int:
        """The watermark of one kind of log."""
        return self.reached.get(log, NEVER)

    def idle(self, now: int) -> list[str]:
        """Partitions from which nothing has come for `idle_after` seconds."""
        return sorted(f"{log.name} {name}" for (log, name), p in self.partitions.items() if self._is_idle(p, now))

    def snapshot(self) -> dict[str, Any]:
        """Plain data for the engine's snapshot."""
        return {
            "partitions": [[int(log), name, p.event_time, p.heard_at] for (log, name), p in self.partitions.items()],
            "reached": [[int(log), at] for log, at in self.reached.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a snapshot stopped."""
        self.partitions = {(Log(log), name): Partition(at, heard) for log, name, at, heard in state["partitions"]}
        self.reached = {Log(log): at for log, at in state["reached"]}

    def _hear(self, key: tuple[Log, str], newest: int, now: int) -> None:
        partition = self.partitions.setdefault(key, Partition(newest, now))
        partition.event_time = max(partition.event_time, newest)
        partition.heard_at = now

    def _is_idle(self, partition: Partition, now: int) -> bool:
        return now - partition.heard_at >= self.idle_after

    def _level(self, log: Log, now: int) -> int:
        active = [p.event_time for (of, _), p in self.partitions.items() if of == log and not self._is_idle(p, now)]
        return min(active) if active else now
