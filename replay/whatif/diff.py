"""Two rule sets over the same history: which findings are new, gone, or other than before. Pure, but for the reading.

Each set is counted in an engine of its own, so its findings are those of a replay with it alone; the logs are read once
for both. A finding of the old set and one of the new are the same one if rule and group are the same and their times
meet, or lie no more than a window apart. Of several that meet the first counts: the others were joined into it, or
split from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.core.dated import Period
from detector.core.finding import Finding
from detector.core.rule import Rule
from detector.core.times import iso
from replay.files import find
from replay.options import Options
from replay.reader import Reads
from replay.run import Count, closed_of, count
from replay.scratch import Scratch
from replay.whatif.summary import DAY
from replay.whatif.tune import pages

NEW, GONE, EARLIER, LATER = "new", "gone", "earlier", "later"
PEAK, SEVERITY, JOINED, SPLIT = "peak", "severity", "joined", "split"
CHANGES = (NEW, GONE, EARLIER, LATER, PEAK, SEVERITY, JOINED, SPLIT)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a finding: `what` names every respect in which old and new differ. One of both may be missing."""

    what: tuple[str, ...]
    old: Finding | None
    new: Finding | None

    @property
    def about(self) -> Finding:
        """The finding that says which rule and whom it is about."""
        found = self.new or self.old
        assert found is not None  # noqa: S101  a change is of something
        return found

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        about = self.about
        said = {"changes": list(self.what), "rule_id": about.rule_id, "group": about.group}
        return said | {"old": _figures(self.old), "new": _figures(self.new)}


def _figures(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {
        "finding_id": finding.finding_id, "severity": finding.severity, "opened_at": iso(finding.opened_at),
        "last_at": iso(finding.last_at), "peak_value": finding.peak_value, "peak_at": iso(finding.peak_at),
        "threshold": finding.threshold, "window_seconds": finding.window_seconds,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """What one rule set finds."""

    rules: Sequence[Rule]
    findings: Sequence[Finding]
    failures: Mapping[str, str] = field(default_factory=dict)

    def of(self, rule_id: str) -> list[Finding]:
        """The findings of a rule."""
        return [finding for finding in self.findings if finding.rule_id == rule_id]

    def pages(self, rule_id: str) -> int:
        """How many pages a rule's findings are."""
        pays = any(rule.id == rule_id and rule.pages for rule in self.rules)
        return pages(np.array([f.opened_at for f in self.of(rule_id)], np.int64)) if pays else 0


@dataclass(frozen=True, slots=True)
class Difference:
    """All there is to say. changes: by opening. same: findings that both have alike."""

    old: Side
    new: Side
    changes: list[Change]
    same: int
    days: float
    reads: Reads

    def rules(self) -> list[str]:
        """Ids of the rules that find something, or of which only one set has any."""
        known = [{rule.id for rule in side.rules} for side in (self.old, self.new)]
        finding = {finding.rule_id for side in (self.old, self.new) for finding in side.findings}
        return sorted(finding | (known[0] ^ known[1]))


def difference(logs: Sequence[str], old: Sequence[Rule], new: Sequence[Rule], options: Options) -> Difference:
    """Read history once for both rule sets. Raises InputError for what the user should mend."""
    with ExitStack() as stack:
        counts = [Count(rules, options, stack.enter_context(Scratch(options.tmp))) for rules in (old, new)]
        reads = count(find(logs, Period.of(options.admission)), counts, options)
        sides = [
            Side(rules, closed_of(one.engine), one.engine.failures)
            for rules, one in zip((old, new), counts, strict=True)
        ]
        books = counts[0].engine.books
    span = (books.last_event_time or 0) - (books.first_event_time or 0) + 1
    changes, same = compare(sides[0].findings, sides[1].findings)
    return Difference(sides[0], sides[1], changes, same, max(1.0, span / DAY), reads)


def compare(old: Sequence[Finding], new: Sequence[Finding]) -> tuple[list[Change], int]:
    """What changed, and how many findings did not."""
    before, after = _by_group(old), _by_group(new)
    every = [change for key in before.keys() | after.keys() for change in _of_group(before[key], after[key])]
    changes = [change for change in every if change.what]
    changes.sort(key=lambda one: (one.about.opened_at, one.about.rule_id, one.about.finding_id, one.what))
    return changes, len(every) - len(changes)


def _by_group(findings: Sequence[Finding]) -> defaultdict[tuple[Any, ...], list[Finding]]:
    groups: defaultdict[tuple[Any, ...], list[Finding]] = defaultdict(list)
    for finding in sorted(findings, key=lambda one: one.opened_at):
        groups[finding.rule_id, tuple(finding.group), finding.group_id].append(finding)
    return groups


def _of_group(old: list[Finding], new: list[Finding]) -> Iterator[Change]:
    """Of one rule and group, both in order of time."""
    left = list(new)
    partner: dict[str, Finding] = {}
    for one in old:
        mine = next((other for other in left if _meet(one, other)), None)
        if mine is not None:
            left.remove(mine)
            partner[mine.finding_id] = one
            yield Change(tuple(_changed(one, mine)), one, mine)
        else:
            taken = next((other for other in new if other.finding_id in partner and _meet(one, other)), None)
            yield Change((JOINED if taken else GONE,), one, taken)
    for other in left:
        whole = next((one for one in partner.values() if _meet(one, other)), None)
        yield Change((SPLIT if whole else NEW,), whole, other)


def _meet(one: Finding, other: Finding) -> bool:
    slack = max(one.window_seconds, other.window_seconds)
    return one.opened_at <= other.last_at + slack and other.opened_at <= one.last_at + slack


def _changed(one: Finding, other: Finding) -> Iterator[str]:
    if other.opened_at != one.opened_at:
        yield EARLIER if other.opened_at < one.opened_at else LATER
    if other.peak_value != one.peak_value:
        yield PEAK
    if other.severity != one.severity:
        yield SEVERITY
