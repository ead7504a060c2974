"""Replay: historical logs through the same engine as the daemon's. Every finding comes out CLOSED.

files → batches → engine (a second time, if differing copies of records came in an unlucky order) → findings
      → a second pass over the files concerned, for the evidence
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from detector.core.access import AccessBatch, Log
from detector.core.asked import ABSENT, asked, logs_of
from detector.core.books import Books
from detector.core.curve import Curve
from detector.core.dated import Period
from detector.core.engine import KEPT, Engine, MakeWatch
from detector.core.finding import Finding
from detector.core.incident import Incident
from detector.core.projection import OF_EVIDENCE, columns
from detector.core.rule import BaselineRule, Rule
from detector.core.times import iso_or_none
from detector.core.watermark import FOREVER
from detector.core.ways import BEGAN, Chains
from detector.learnt import Learnt
from detector.logs.limits import Limits
from detector.watches import watches
from replay.cache.kept import Kept, kept, pieces
from replay.covered import covered
from replay.crosscheck import CrossCheck
from replay.evidence import Behind, Pass, gather
from replay.files import Files, LogPath, find
from replay.incidents import Look, incidents
from replay.later import PARCELS, Later, worth
from replay.named import Names
from replay.options import Options
from replay.reader import FileRead, Reads, Records, batches, followed, records
from replay.scratch import Scratch

CLOSED = "closed"
UNSAID = "no `site` says what is "
COVERED = frozenset({"partition"})
"""What the coverage ledger asks of every record, beside its time; of buckets it takes what rules ask for."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a replay.

    reads: what came of the files; those that the user named and that are no known log are `unknown`.
    failures: rule id → why it failed (a failed rule is never "no match"). learnt: what baselines know, if asked for.
    curves: finding id → how its value went. incidents: findings that belong together, the worst first.
    """

    findings: list[Finding]
    summary: dict[str, Any]
    reads: Reads
    failures: Mapping[str, str]
    learnt: Learnt | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    incidents: Sequence[Incident] = ()


def run(paths: Sequence[str], rules: Sequence[Rule], options: Options | None = None) -> Result:
    """Replay the logs under these paths. Raises InputError for what the user should mend."""
    options = options or Options()
    with Scratch(options.tmp) as scratch:
        return _run(paths, rules, options, scratch)


class Count:
    """One set of rules over the records, in an engine of its own. make_watch: of a rule; None: as replay watches it.

    chains: who began whose session, if that is to be noted as well.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        options: Options,
        scratch: Scratch,
        make_watch: MakeWatch | None = None,
        chains: Chains | None = None,
    ) -> None:
        self.columns = columns_of(rules, options)
        self.chains = chains
        self._make = partial(
            Engine, rules, make_watch or watches(once=True), horizon=FOREVER, best_copies=True,
            memory=options.memory, shelf=scratch,
        )  # fmt: skip
        self._scratch, self._now = scratch, options.now
        self._begin()

    def _begin(self, **known: Any) -> None:
        self.engine = self._make(**known)
        if self.chains is not None:
            self.chains = Chains()
            self.engine.lean_on_shelf(*self.chains.spilling())

    @property
    def reads(self) -> frozenset[str]:
        """The columns it looks at."""
        return self.columns | ({BEGAN} if self.chains is not None else set())

    def take(self, batch: AccessBatch) -> None:
        """Count a batch, which may have columns that only other sets of rules look at."""
        self.engine.process(batch.cut(self.columns), now=self._now)
        if self.chains is not None:
            self.chains.meet(batch)
        self.engine.spill(self._scratch.save)

    def begin_again(self) -> None:
        """For the second run over the same records."""
        self._scratch.clear(but=(*KEPT, PARCELS))
        self._begin(**self.engine.second_run())


def count(
    files: Files, counts: Sequence[Count], options: Options, read: Records = records, later: Later | None = None
) -> Reads:
    """All records of these files for every set of rules: read once, or twice where copies came in an unlucky order.

    later: keeps what is read.
    """
    reads = _feed(files, counts, options, "reading", read, later)
    again = [one for one in counts if one.engine.needs_second_run]
    if again:
        options.rejects(None)
        options.inputs(None)
        for one in again:
            one.begin_again()
        reads = _feed(files, again, options, "reading again", read)
    return reads


def _feed(
    files: Files, counts: Sequence[Count], options: Options, step: str, how: Records, later: Later | None = None
) -> Reads:
    reads = Reads()
    columns = COVERED.union(*(one.reads for one in counts), OF_EVIDENCE if later else ())
    read = partial(_chunk, how, columns, options.limits)
    for raw, outcomes in followed(batches(files, read, options.jobs), files, options.progress, step):
        batch = options.admission.apply(raw)
        for one in counts:
            one.take(batch)
        if later:
            later.take(raw, outcomes)
        reads.coverage.add(raw)
        for outcome in outcomes:
            reads.add(outcome)
        options.rejects(sorted(raw.rejects, key=lambda r: (r.file, r.position)))
        options.inputs(outcomes)
    return reads


def _chunk(
    how: Records, columns: frozenset[str], limits: Limits, files: list[LogPath]
) -> tuple[AccessBatch, list[FileRead]]:
    return how(files, columns, limits)


def _run(paths: Sequence[str], rules: Sequence[Rule], options: Options, scratch: Scratch) -> Result:
    began = time.monotonic()
    with _source(paths, options) as source:
        chosen = [rule for rule in rules if options.model or not isinstance(rule, BaselineRule)]
        check = CrossCheck() if options.cross_check else None
        watch = watches(once=True, texts=False)
        counted = Count(chosen, options, scratch, check.beside(watch) if check else watch, Chains())
        later = Later(scratch, source.read) if source.kept is None and worth(chosen, counted.columns) else None
        reads = count(source.files, [counted], options, source.read, later)
        engine = counted.engine
        closed = closed_of(engine)
        learnt = _learnt(engine, chosen, scratch) if options.learn else None
        read = partial(batches, jobs=options.jobs)
        curves = curves_of(engine, closed, options.curves)
        files, when, how = (later.files, later.reads, later.how) if later else (source.files, reads, source.read)
        look = Look(files, when, read, how, options, counted.chains)
        findings, told = with_evidence(closed, chosen, engine, look, scratch)
        reads, books, logs = source.all_of(reads, counted, options)
        totals = Totals(books, logs, engine.people.sessions(), engine.failures, curves, told)
        done = result(findings, totals, rules, options, reads, began, learnt)
    if check:
        done.summary["cross_check"] = check.told(findings)
    return done


@dataclass(frozen=True, slots=True)
class _Source:
    """What is replayed, and how it is read. kept: the cache it is in."""

    files: Files
    read: Records = records
    kept: Kept | None = None

    def all_of(self, reads: Reads, counted: Count, options: Options) -> tuple[Reads, Books, set[Log]]:
        """What came of all log files, and the books: of what was read now, and of what the cache has in no record."""
        engine = counted.engine
        if self.kept is None:
            return reads, engine.books, engine.logs_seen
        for inputs, rejects in self.kept.told():
            options.inputs(inputs)
            options.rejects(rejects)
        engine.books.add(self.kept.left)
        if "bucket" not in counted.columns:
            self.kept.reads.coverage.let_go_of_buckets()
        return self.kept.reads, engine.books, engine.logs_seen | self.kept.logs


@contextmanager
def _source(paths: Sequence[str], options: Options) -> Iterator[_Source]:
    if options.cache is None:
        yield _Source(find(paths, Period.of(options.admission)))
        return
    with kept(paths, options.cache, options, options.tell) as found:
        yield _Source(found.pieces(), pieces, found)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all records together came to. principals: how many sessions. The last three: as in `Result`."""

    books: Books
    logs_seen: set[Log]
    principals: int
    failures: Mapping[str, str]
    curves: Mapping[str, Curve]
    incidents: Sequence[Incident]


def result(
    findings: list[Finding],
    totals: Totals,
    rules: Sequence[Rule],
    options: Options,
    reads: Reads,
    began: float,
    learnt: Learnt | None = None,
) -> Result:
    """All of a replay that began at this monotonic time."""
    findings.sort(key=lambda f: (f.opened_at, f.finding_id))
    summary = _summary(totals, rules, options, reads, findings)
    summary |= {"wall_seconds": round(time.monotonic() - began, 3)}
    return Result(findings, summary, reads, totals.failures, learnt, totals.curves, totals.incidents)


def _learnt(engine: Engine, rules: Sequence[Rule], scratch: Scratch) -> Learnt:
    """What baselines know when all has been read."""
    until = engine.books.last_event_time or 0
    engine.learners(until)
    scratch.save(engine.changes())
    names = engine.learners(until)  # now that they are written
    parts = scratch.parts(name for of_rule in names.values() for name in of_rule)
    return Learnt({rule.id: rule.digest() for rule in rules if rule.id in names}, until, parts)


def closed_of(engine: Engine) -> list[Finding]:
    """The findings once the data has ended; their evidence is not gathered yet."""
    return [finding for finding in engine.finish() if finding.state == CLOSED]


def curves_of(engine: Engine, findings: Iterable[Finding], most: int) -> dict[str, Curve]:
    """Finding id → how its value went, of so many, the worst first."""
    worst = sorted(findings, key=Finding.badness)[:most]
    return {finding.finding_id: curve for finding in worst if (curve := engine.curve(finding))}


def with_evidence(
    findings: list[Finding],
    rules: Sequence[Rule],
    engine: Engine,
    look: Look,
    scratch: Scratch,
) -> tuple[list[Finding], list[Incident]]:
    """The findings with what lies behind them, and the incidents they make. engine: that counted the records."""
    if not findings:
        return [], []
    options, by_id = look.options, {rule.id: rule for rule in rules}
    names = Names(findings)
    wanted = [Behind.of(finding, by_id[finding.rule_id]) for finding in findings]
    wanted += [Behind.panes(findings[one], by_id[findings[one].rule_id]) for one in names.numbers]
    told = [rule for rule in rules if rule.id in {finding.rule_id for finding in findings}]
    looked_at = columns_of(rules if engine.copies_differ else told, options)
    pass_ = Pass(wanted, options.admission, looked_at, options.limits, look.how)
    reaching = np.logical_or.reduce([look.reads.within(behind.after, behind.until) for behind in wanted])
    concerned = look.files.only(np.flatnonzero(reaching))
    shown, lost = gather(
        findings,
        engine,
        concerned,
        pass_,
        names,
        read=look.read,
        redact=options.redact,
        progress=options.progress,
        save=scratch.save,
        owners=options.owners,
    )
    losses = partial(lost.of, lean=engine.lean_on_shelf, spill=partial(engine.spill, scratch.save))
    return shown, incidents(shown, look, losses)


def columns_of(rules: Sequence[Rule], options: Options) -> frozenset[str]:
    """The columns that counting by these rules needs."""
    return columns(rules, prefer=bool(options.admission.prefer))


def _summary(
    totals: Totals, rules: Sequence[Rule], options: Options, reads: Reads, findings: list[Finding]
) -> dict[str, Any]:
    books = totals.books
    return {
        "version": version("bucketwatch"),
        "files": reads.kept,
        "files_ignored": [{"file": r.file.name, "reason": r.reason} for r in reads.ignored],
        "files_ignored_count": reads.ignored_count,
        "files_passed_over": Period.of(options.admission).told(),
        "files_damaged": [{"file": r.file.name, "reason": r.damage} for r in reads.damaged],
        "files_damaged_count": reads.damaged_count,
        "bytes_read": reads.size,
        "records": books.records,
        "access_events": books.access_events,
        "duplicates": books.duplicates,
        "duplicates_differing": books.duplicates_differing,
        "skipped": {"count": books.skipped.total(), "by_reason": dict(sorted(books.skipped.items()))},
        "rejected": {"count": books.rejected.total(), "by_reason": dict(sorted(books.rejected.items()))},
        "late": books.late,
        "unresolved_bucket": books.unresolved_bucket,
        "first_event_time": iso_or_none(books.first_event_time),
        "last_event_time": iso_or_none(books.last_event_time),
        "principals": totals.principals,
        "coverage": covered(reads.coverage, rules, options.admission),
        "findings": len(findings),
        "incidents": len(totals.incidents),
        "rules": _told_rules(rules, findings),
        "rules_not_evaluated": [
            *({"rule_id": rule, "reason": UNSAID + ", ".join(names)} for rule, names in options.waiting.items()),
            *not_evaluated(rules, totals.logs_seen, reads.lacks, model=options.model),
        ],
        "rules_failed": dict(sorted(totals.failures.items())),
    }


def _told_rules(rules: Sequence[Rule], findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The rules that were asked, with the digest of what each counts and the number of its findings."""
    found = Counter(finding.rule_id for finding in findings)
    return [
        {
            "rule_id": rule.id, "title": rule.title, "kind": rule.kind, "severity": rule.severity, "stage": rule.stage,
            "digest": rule.digest(), "findings": found[rule.id],
        }
        for rule in rules
    ]  # fmt: skip


def not_evaluated(
    rules: Sequence[Rule], logs: set[Log], lacking: Iterable[tuple[str, ...]], *, model: bool
) -> list[dict[str, Any]]:
    """Rules that could not look at some of the records, and what these lacked. `lacking`: of the Parquet files read."""
    lacks = [("parquet", frozenset(columns)) for columns in sorted(set(lacking)) if columns]
    out: list[dict[str, Any]] = []
    for rule in rules:
        if isinstance(rule, BaselineRule) and not model:
            out.append({"rule_id": rule.id, "reason": "--no-model"})
        absent = [(log.name, ABSENT[log]) for log in sorted(logs.intersection(logs_of(rule.where)))]
        out += [
            {"rule_id": rule.id, "log": log, "missing": missing}
            for log, columns in [*absent, *lacks]
            if (missing := sorted(asked(rule) & columns))
        ]
    return out
