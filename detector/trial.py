"""Runs the tests inside rule files: the real engine, each test in several ways that must not matter. No I/O, no clock.

Every test is replayed as it stands, then watched as the daemon does it: cut into polls, with copies, with a restart
after every poll; once in order of time and once shuffled. All ways must find what the test expects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from detector.core.access import AccessBatch, Index, Log
from detector.core.acted import records
from detector.core.engine import Engine
from detector.core.example import Example, Expected
from detector.core.finding import Finding
from detector.core.globs import glob
from detector.core.projection import columns
from detector.core.rule import Rule
from detector.core.times import iso
from detector.core.watermark import Watermark
from detector.watches import watches

POLLS = 5
SHUFFLED_BY = 7
"""Seed of the shuffle: a test is the same test every time."""
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one test. problems: lines for people, none if it passed. way: in which it failed first."""

    rule_id: str
    name: str
    records: int
    way: str = ""
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all ways found what was expected."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"passed": self.passed}


def trial(rule: Rule, example: Example) -> Verdict:
    """Run one test of a rule in every way, up to the first that fails."""
    batch = records(example, columns([rule]))
    for way, run in WAYS.items():
        engine, found = run(rule, batch)
        failed = engine.failures.get(rule.id)
        told = (f"the rule failed: {failed}",) if failed else tuple(differences(example, found))
        if told:
            return Verdict(rule.id, example.name, len(batch), way, told)
    return Verdict(rule.id, example.name, len(batch))


def _replayed(rule: Rule, batch: AccessBatch) -> tuple[Engine, list[Finding]]:
    """All at once, judged at the end."""
    engine = Engine([rule], watches(once=True), best_copies=True)
    engine.process(batch, now=_end(batch))
    return engine, _closed(engine.finish())


def _in_order(rule: Rule, batch: AccessBatch) -> tuple[Engine, list[Finding]]:
    """In order of time, every record twice."""
    twice = np.repeat(np.arange(len(batch)), 2)
    return _watched(rule, batch, np.array_split(twice, POLLS), lateness=0)


def _shuffled(rule: Rule, batch: AccessBatch) -> tuple[Engine, list[Finding]]:
    """In no order, every record twice; late enough that no record is late."""
    twice = np.random.default_rng(SHUFFLED_BY).permutation(np.tile(np.arange(len(batch)), 2))
    return _watched(rule, batch, np.array_split(twice, POLLS), lateness=_end(batch))


WAYS: Mapping[str, Callable[[Rule, AccessBatch], tuple[Engine, list[Finding]]]] = {
    "replayed": _replayed,
    "watched, with copies and restarts": _in_order,
    "watched, shuffled, with copies and restarts": _shuffled,
}


def _watched(rule: Rule, batch: AccessBatch, polls: Sequence[Index], lateness: int) -> tuple[Engine, list[Finding]]:
    """As the daemon does it: poll by poll, and after each a new process that goes on from the checkpoint."""
    store: dict[str, bytes | None] = {}
    findings: list[Finding] = []
    engine = _daemon(rule, lateness)
    for rows in polls:
        poll = batch.take(rows)
        engine.process(poll, now=_end(batch))
        findings += engine.judge() + engine.advance(_end(poll), backlog=False)
        store |= engine.changes()
        failed = engine.failures
        engine = _daemon(rule, lateness)
        engine.restore({name: part for name, part in store.items() if part is not None})
        engine.failures |= failed
    return engine, _closed(findings + engine.finish())


def _daemon(rule: Rule, lateness: int) -> Engine:
    return Engine([rule], watches(), watermark=Watermark(dict.fromkeys(Log, lateness)))


def _end(batch: AccessBatch) -> int:
    return int(batch.time.max(initial=0))


def _closed(findings: Sequence[Finding]) -> list[Finding]:
    return sorted((f for f in findings if f.state == CLOSED), key=lambda f: (f.opened_at, f.finding_id))


def differences(example: Example, found: Sequence[Finding]) -> list[str]:
    """What was expected and not found, and the other way round, in lines for people."""
    missing, left = list(example.findings), list(found)
    for expected in example.findings:
        same = next((finding for finding in left if not _unlike(example, expected, finding)), None)
        if same is not None:
            missing.remove(expected)
            left.remove(same)
    start, out = example.started_at, []
    for expected in missing:
        out.append(f"expected {_told(expected, start)}")
        if left:
            finding = left.pop(0)
            out += [f"got      {_seen(finding, start)}", f"         {'; '.join(_unlike(example, expected, finding))}"]
        else:
            out.append("got      no such finding")
    for finding in left:
        out += ["expected no more findings", f"got      {_seen(finding, start)}"]
    return out


def _unlike(example: Example, expected: Expected, finding: Finding) -> list[str]:
    """In what a finding is not the expected one."""
    start, out = example.started_at, []
    for name, wanted, got in (("opened", expected.opened, finding.opened_at), ("last", expected.last, finding.last_at)):
        if wanted is not None and wanted.on(start) != got:
            out.append(f"{name}: expected {_at(wanted.on(start), start)}, got {_at(got, start)}")
    if expected.peak is not None and expected.peak != finding.peak_value:
        out.append(f"peak: expected {expected.peak:,}, got {finding.peak_value:,}")
    if expected.group is not None and not _is_group(expected.group, finding):
        out.append(f"group: expected {expected.group}, got {_group(finding)}")
    return out


def _is_group(wanted: str, finding: Finding) -> bool:
    """Whether a group is meant by a text: a glob of one of its names, or of what ends it after a `/`, `:` or `@`."""
    names = [*finding.group.values(), _group(finding)]
    return any(glob([wanted, *(f"*{mark}{wanted}" for mark in "/:@")]).fullmatch(name) for name in names)


def _told(expected: Expected, start: int) -> str:
    parts = [f"opened {_at(expected.opened.on(start), start)}"]
    if expected.last is not None:
        parts.append(f"last {_at(expected.last.on(start), start)}")
    if expected.peak is not None:
        parts.append(f"peak {expected.peak:,}")
    if expected.group is not None:
        parts.append(f"group {expected.group}")
    return ", ".join(parts)


def _seen(finding: Finding, start: int) -> str:
    times = f"opened {_at(finding.opened_at, start)}, last {_at(finding.last_at, start)}"
    return f"{times}, peak {finding.peak_value:,}, group {_group(finding)}"


def _group(finding: Finding) -> str:
    return ", ".join(finding.group.values())


def _at(second: int, start: int) -> str:
    """A time as it is best written in a test: from its start."""
    after = second - start
    if after < 0:
        return iso(second)
    parts, rest = [], after
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, rest = divmod(rest, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def junit_of(results: Sequence[tuple[str, Verdict]]) -> str:
    """Results (place, verdict) as JUnit XML: a suite a rule."""
    suites = Element("testsuites", tests=str(len(results)), failures=str(sum(not v.passed for _, v in results)))
    by_rule: dict[str, Element] = {}
    for place, verdict in results:
        suite = by_rule.get(verdict.rule_id)
        if suite is None:
            suite = by_rule[verdict.rule_id] = SubElement(suites, "testsuite", name=verdict.rule_id)
        file, _, line = place.rpartition(":")
        case = SubElement(suite, "testcase", classname=verdict.rule_id, name=_xml(verdict.name), file=file, line=line)
        if not verdict.passed:
            told = _xml("\n".join(verdict.problems))
            SubElement(case, "failure", message=_xml(f"{verdict.way}: {verdict.problems[0]}")).text = told
    return tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """A text with what XML cannot say left out."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
