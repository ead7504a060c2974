"""Which folders and files of logs cannot hold records of a period, told by the dates in their names. Pure.

Rules of this file
- Only names that AWS or the daemon gives are understood; whatever is called otherwise is read.
- The date of a delivery is later than that of what was delivered: a file may hold records from any time before. So what
  was delivered before the period is passed over, and what was delivered `LATE` after its end. Clocks may differ by
  `EARLY`.

Sources: AWS CloudTrail user guide, "Finding your CloudTrail log files" (folders by day, and the minute in names, of the
delivery); S3 user guide, "Enabling server access logging" (names with the time of delivery; keys by account, region,
bucket and day). Delivery takes minutes for CloudTrail, hours for access logs, and nobody promises it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from detector.core.admit import Admission
from detector.core.times import epoch, iso
from detector.core.watermark import FOREVER, NEVER

LATE, EARLY = 48 * 3600, 3600
"""Seconds that a delivery may come after its records, and that a clock may be ahead."""
DAY, HOUR, MINUTE = 86_400, 3600, 60
_FOLDER = re.compile(
    r"(?:(?:^|/)AWSLogs/(?:o-[a-z0-9]+/)?[0-9]{12}/CloudTrail/[a-z0-9-]+"
    r"|(?:^|/)[0-9]{12}/[a-z]{2,4}(?:-[a-z]+)+-[0-9]/[a-z0-9.-]+)"
    r"/([0-9]{4})(?:/([0-9]{2})(?:/([0-9]{2}))?)?/$"
)
_ARCHIVE = re.compile(r"(?:^|/)date=([0-9]{4})-([0-9]{2})-([0-9]{2})/(?:hour=([0-9]{2})/)?$")
_TRAIL_FILE = re.compile(r"(?:^|/)[0-9]{12}_CloudTrail_[a-z0-9-]{1,30}_([0-9]{8}T[0-9]{4})Z_[^/]*$")
_ACCESS_FILE = re.compile(r"(?:^|/)([0-9]{4})-([0-9]{2})-([0-9]{2})-([0-9]{2})-([0-9]{2})-([0-9]{2})-[0-9A-F]{16}$")
Span = tuple[int, int]


class Period(NamedTuple):
    """Deliveries that may hold records that count: epoch seconds, `first <= time < end`."""

    first: int = NEVER
    end: int = FOREVER

    @classmethod
    def of(cls, admission: Admission) -> Period:
        """Of the records that count."""
        first = admission.since if admission.since == NEVER else admission.since - EARLY
        return cls(first, admission.until if admission.until == FOREVER else admission.until + LATE)

    def told(self) -> dict[str, str | None]:
        """What is passed over, for people and programs: files that were delivered then, as their names say."""
        return {
            "delivered_before": None if self.first == NEVER else iso(self.first),
            "delivered_from": None if self.end == FOREVER else iso(self.end),
        }

    def passes_over(self, name: str) -> bool:
        """Whether nothing in a file, or in a folder (its name ends with a slash), can count."""
        if self == ALWAYS:
            return False
        span = _of_folder(name) if name.endswith("/") else _of_file(name)
        return span is not None and (span[1] <= self.first or span[0] >= self.end)

    def after(self, name: str) -> str:
        """Where a listing of a folder of access logs may go on after a file that it passes over; empty: at the next.

        All names of a year begin with it and a hyphen, and no name of an account does.
        """
        found = _ACCESS_FILE.search(name)
        if found is None:
            return ""
        folder = name[: name.rfind("/") + 1]
        begins = f"{folder}{found[1]}-"
        wanted = folder + iso(self.first).replace("T", "-").replace(":", "-")[:19] if self.first != NEVER else ""
        return wanted if wanted.startswith(begins) and wanted > name else f"{begins}~"


ALWAYS = Period()


def _of_folder(name: str) -> Span | None:
    if (found := _ARCHIVE.search(name)) is not None:
        year, month, day, hour = found.groups()
        return _span(f"{year}-{month}-{day}T{hour or '00'}:00:00Z", HOUR if hour else DAY)
    if (found := _FOLDER.search(name)) is None:
        return None
    year, month, day = found.groups()
    if day:
        return _span(f"{year}-{month}-{day}T00:00:00Z", DAY)
    if month:
        following = (int(year) + int(month) // 12, int(month) % 12 + 1)
        return _between(f"{year}-{month}", f"{following[0]:04}-{following[1]:02}")
    return _between(f"{year}-01", f"{int(year) + 1:04}-01")


def _of_file(name: str) -> Span | None:
    if (found := _TRAIL_FILE.search(name)) is not None:
        return _span(f"{found[1]}00Z", MINUTE)
    if (found := _ACCESS_FILE.search(name)) is None:
        return None
    year, month, day, hour, minute, second = found.groups()
    whole_day = hour == minute == second == "00"  # so are files of a day, when folders go by the time of the records
    return _span(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z", DAY if whole_day else 1)


def _span(first: str, seconds: int) -> Span | None:
    second = epoch(first)
    return None if second is None else (second, second + seconds)


def _between(first: str, end: str) -> Span | None:
    begin, until = epoch(f"{first}-01T00:00:00Z"), epoch(f"{end}-01T00:00:00Z")
    return None if begin is None or until is None else (begin, until)
