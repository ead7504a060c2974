"""From what a person writes to what is asked: WHO, owners, and what the answer rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.cli.planned import finding_in, lines_of
from detector.core.times import iso_or_none
from detector.errors import InputError
from replay.covered import covered, line
from replay.investigate.who import KINDS, Who, of_finding, who

if TYPE_CHECKING:
    from replay.cache.kept import Kept

HOLES = 100
"""Holes in what the logs cover that are told; more are counted."""


def who_of(text: str, kind: str, findings: Path) -> Who:
    """Whom a text means. findings: where a finding is looked up. Raises InputError."""
    chosen = next((one for one in KINDS if one == kind), None)
    if kind and chosen is None:
        raise InputError(f"expected one of {', '.join(KINDS)}, got '{ascii(kind)[1:-1]}'", where="--as")
    found = who(text, chosen)
    if found.kind != "finding":
        return found
    return of_finding(finding_in(lines_of(findings, "--findings"), text, str(findings), "--findings"))


def logs_of(records: Kept) -> dict[str, Any]:
    """What the answer rests on: files, records, their time, and where they have holes."""
    books, reads = records.books, records.reads
    coverage = covered(reads.coverage)
    return {
        "files": reads.kept,
        "files_ignored": reads.ignored_count,
        "files_damaged": reads.damaged_count,
        "records": books.records,
        "access_events": books.access_events,
        "rejected": books.rejected.total(),
        "unresolved_bucket": books.unresolved_bucket,
        "first_event_time": iso_or_none(books.first_event_time),
        "last_event_time": iso_or_none(books.last_event_time),
        "covers": line(coverage),
        "holes": coverage["holes"][:HOLES],
        "holes_count": coverage["holes_count"],
    }
