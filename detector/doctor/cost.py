"""What a month costs, estimated from a day of log files. Pure.

Prices are AWS's list prices of us-east-1 as known in mid-2025: other regions, agreements and later changes differ, so
this tells orders of magnitude, and which part is the large one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detector.doctor.result import Result

PRICES_OF = "2025-06, us-east-1, list"
PER_100_000_EVENTS = 0.10
"""CloudTrail data events, for each trail that delivers them."""
PER_1_000_GETS, PER_1_000_PUTS = 0.0004, 0.005
PER_GB_MONTH = 0.023
PER_MILLION_SQS = 0.40
PER_VCPU_HOUR, PER_GB_HOUR = 0.04048, 0.004445
HOURS, DAYS = 730, 30
VCPU, GIGABYTES = 1, 4
"""The task of deploy/existing-trail.yaml."""
PACKED = 120
"""Bytes of a record in a gzipped file, where none could be read."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day of one log bucket. sample, records: bytes and records of one file that was read; records 0: none."""

    bucket: str
    files: int
    size: int
    sample: int
    records: int

    @property
    def events(self) -> int:
        """Events of the day, by the density of the sample."""
        per_record = self.sample / self.records if self.records >= 20 else PACKED
        return round(self.size / per_record)


@dataclass(frozen=True, slots=True)
class Month:
    """Dollars a month."""

    events: float
    files: float
    storage: float
    task: float

    @property
    def total(self) -> float:
        return self.events + self.files + self.storage + self.task


def month(days: Sequence[Day]) -> Month:
    """What these days make in a month, with the task that reads them. Events are priced as if all were data events."""
    events, files, size = sum(d.events for d in days), sum(d.files for d in days), sum(d.size for d in days)
    # each file: one get, and a notice that is sent, received and deleted
    per_file = PER_1_000_GETS / 1_000 + 3 * PER_MILLION_SQS / 1_000_000
    return Month(
        events=events * DAYS / 100_000 * PER_100_000_EVENTS,
        files=files * DAYS * per_file,
        storage=size * DAYS / 2**30 * PER_GB_MONTH,
        task=HOURS * (VCPU * PER_VCPU_HOUR + GIGABYTES * PER_GB_HOUR),
    )


def told_cost(days: Sequence[Day]) -> Iterator[Result]:
    """The estimate as a result; nothing without a day to estimate from."""
    if not days:
        return
    found, events = month(days), sum(day.events for day in days)
    told = (
        f"about ${found.total:,.0f} a month, estimated (prices {PRICES_OF}): CloudTrail events ${found.events:,.0f} "
        f"({events:,} a day, as if all were data events), reading and notices ${found.files:,.0f}, logs kept for a "
        f"month ${found.storage:,.0f}, the task ${found.task:,.0f}"
    )
    yield Result("cost", "ok", told, ", ".join(day.bucket for day in days))
