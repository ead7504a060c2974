"""From what a person writes to what is asked: WHO, owners, and what the answer rests on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.cli.planned import finding_in, lines_of, members, there_in
from detector.core.times import iso_or_none
from detector.errors import InputError
from replay.covered import covered, line
from replay.investigate.who import KINDS, Who, of_finding, of_incident, who

if TYPE_CHECKING:
    from replay.cache.kept import Kept

OPTION = "--findings"
HOLES = 100
"""Holes in what the logs cover that are told; more are counted."""


def who_of(text: str, kind: str, findings: Path) -> Who:
    """Whom a text means. findings: where a finding is looked up. Raises InputError."""
    chosen = next((one for one in KINDS if one == kind), None)
    if kind and chosen is None:
        raise InputError(f"expected one of {', '.join(KINDS)}, got '{ascii(kind)[1:-1]}'", where="--as")
    found = who(text, chosen)
    if found.kind == "incident":
        return _of_incident(text, findings)
    if found.kind == "finding":
        return of_finding(finding_in(lines_of(findings, OPTION), text, str(findings), OPTION))
    return found


def _of_incident(text: str, findings: Path) -> Who:
    ids = _members(text, findings)
    there = there_in(lines_of(findings, OPTION), ids)
    if not there:
        raise InputError(
            f"none of the {len(ids):,} findings of this incident is here",
            where=f"{text} in {findings}",
            remedy=f"name the file of its findings, or a journal, with {OPTION}",
        )
    every = {str(one.get("finding_id") or one.get("alert_id")): one for one in there.values()}
    return replace(of_incident(every.values()), lost=tuple(one for one in ids if one not in there))


def _members(incident: str, findings: Path) -> list[str]:
    """The findings of an incident: as alerts and journals tell, or the incidents.jsonl of a replay."""
    beside = findings.parent / "incidents.jsonl"
    for path in (findings, *([beside] if beside.exists() else [])):
        if (some := members(partial(lines_of, path, OPTION), incident)) != [incident]:
            return some
    raise InputError(
        "no alert or finding is of this incident",
        where=f"{incident} in {findings}",
        remedy=f"take incident_id from an alert or incidents.jsonl, and name the file of its findings with {OPTION}",
    )


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
