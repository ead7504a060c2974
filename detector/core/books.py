"""What became of every record that was met: the books, which have to balance. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from detector.core.access import I64


@dataclass(slots=True)
class Books:
    """What became of every record."""

    records: int = 0
    access_events: int = 0
    duplicates: int = 0
    duplicates_differing: int = 0
    late: int = 0
    unresolved_bucket: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_event_time: int | None = None
    last_event_time: int | None = None

    def span(self, times: I64) -> None:
        """Take note of the first and last event time of records that could be read."""
        if len(times):
            first, last = int(times.min()), int(times.max())
            self.first_event_time = first if self.first_event_time is None else min(first, self.first_event_time)
            self.last_event_time = last if self.last_event_time is None else max(last, self.last_event_time)

    def add(self, other: Books) -> None:
        """Take in the books of other records."""
        for one in fields(self):
            mine, more = getattr(self, one.name), getattr(other, one.name)
            if not one.name.endswith("_time"):
                setattr(self, one.name, mine + more)
        self.span(np.array([t for t in (other.first_event_time, other.last_event_time) if t is not None], np.int64))

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Books:
        """From what `asdict` gives, after a journey as msgpack."""
        return cls(**(dict(plain) | {"skipped": Counter(plain["skipped"]), "rejected": Counter(plain["rejected"])}))

    def balance(self) -> bool:
        """Whether every record is accounted for."""
        return self.records == self.access_events + self.duplicates + self.skipped.total() + self.rejected.total()
