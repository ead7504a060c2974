"""The second pass of a replay: what lies behind each finding, from the files that reach into its time.

A theft of minutes in a year of logs costs minutes of logs: only files that reach into its time are read again, with all
that evidence shows; or what the first pass kept of them (`later.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from detector.core.access import U64, AccessBatch, Index, Mask, Skip
from detector.core.admit import Admission
from detector.core.chosen import Chosen
from detector.core.dedup import Seen
from detector.core.engine import Engine
from detector.core.evidence import Evidence
from detector.core.finding import Finding
from detector.core.groupings import Groupings
from detector.core.owner import Owners
from detector.core.projection import OF_EVIDENCE
from detector.core.redaction import Redaction, leaving_finding
from detector.core.rule import BaselineRule, FirstSeen, Received, Rule, Unaudited
from detector.core.sought import Asked, Sought
from detector.core.unaudited import LOG_GROUP, read_hashes
from detector.core.view import BatchView
from detector.logs.limits import LIMITS, Limits
from detector.model.channels import PANE
from replay.files import Files, LogPath
from replay.lost import Lost
from replay.named import Names
from replay.reader import FileRead, Progress, ReadAll, Records, followed, records

NOTHING = 0
"""Epoch second after and until which no record is."""
Save = Callable[[dict[str, bytes | None]], None]


@dataclass(frozen=True, slots=True)
class Behind:
    """What the records behind a finding have in common: rule, group, and `after < time <= until`; perhaps members.

    levels: of the group.
    """

    rule: Rule
    group: int
    after: int
    until: int
    members: tuple[int, ...] = ()
    levels: tuple[str, ...] = ()

    @classmethod
    def of(cls, finding: Finding, rule: Rule) -> Behind:
        grain = rule.granularity
        after, until = finding.opened_at - finding.window_seconds + grain - 1, finding.last_at + grain - 1
        if not rule.has_evidence:
            after = until = NOTHING
        levels = tuple(finding.group) if isinstance(rule, BaselineRule) else rule.grouping
        return cls(rule, finding.group_id, after, until, finding.members, levels)

    @classmethod
    def panes(cls, finding: Finding, rule: Rule) -> Behind:
        """As `of`, of all of the panes that a baseline's finding lies in."""
        last = finding.last_at // PANE * PANE + PANE - 1
        return replace(cls.of(finding, rule), after=finding.opened_at - PANE, until=last)

    @property
    def asked(self) -> Asked:
        """As far as it can be told of a record by its time and who asked."""
        if self.group == LOG_GROUP:
            return Asked(self.after, self.until)
        return Asked.of(self.after, self.until, self.levels, self.group)

    def groups(self, view: BatchView) -> U64:
        """The group of every row."""
        if isinstance(self.rule, BaselineRule):
            return view.acting(self.rule.shared_roles)
        return view.groups(self.rule.grouping)[0]


@dataclass(frozen=True, slots=True)
class Pass:
    """How to read again. columns: of the first pass. groupings: what is known of principals, batch after batch.

    wanted: what is behind each finding, then what is behind each of those that have names to be found.
    """

    wanted: Sequence[Behind]
    admission: Admission
    columns: frozenset[str]
    limits: Limits = LIMITS
    records: Records = records
    groupings: Groupings = field(default_factory=Groupings)

    def read(self, files: list[LogPath]) -> tuple[AccessBatch, list[FileRead]]:
        """The records behind the findings in these files, with all that evidence shows."""
        sought = Sought((behind.asked for behind in self.wanted), self.groupings)
        batch, outcomes = self.records(files, self.columns | OF_EVIDENCE, self.limits, sought)
        return batch.take(self._matching(self.admission.apply(batch))), outcomes

    def _matching(self, batch: AccessBatch) -> Index:
        found = np.zeros(len(batch), np.bool_)
        for _, mask in matches(batch, self.wanted, self.groupings):
            found |= mask
        return np.flatnonzero(found & (batch.skip == Skip.no))


def matches(
    batch: AccessBatch, wanted: Sequence[Behind], groupings: Groupings | None = None
) -> Iterator[tuple[int, Mask]]:
    """Which rows of a batch stand behind which of the wanted."""
    view = BatchView(batch, groupings)
    masks: dict[str, Mask] = {}
    for number, behind in enumerate(wanted):
        inside = (batch.time > behind.after) & (batch.time <= behind.until)
        if inside.any():
            if behind.rule.id not in masks:
                masks[behind.rule.id] = Chosen(behind.rule).mask(view)
            found = inside & masks[behind.rule.id]
            if behind.group != LOG_GROUP:
                found &= behind.groups(view) == np.uint64(behind.group)
            if isinstance(behind.rule, Unaudited):
                reads = read_hashes(view.time, view.who(), view.items(behind.rule.measure))
                found &= np.isin(reads, np.array(behind.members, np.uint64))
            if isinstance(behind.rule, Received):
                found &= np.isin(view.time, np.array(behind.members, np.int64))
            if behind.members and isinstance(behind.rule, FirstSeen):
                found &= np.isin(view.groups(behind.rule.pairs)[0], np.array(behind.members, np.uint64))
            yield number, found


def gather(
    findings: Sequence[Finding],
    engine: Engine,
    files: Files,
    how: Pass,
    names: Names,
    *,
    read: ReadAll,
    redact: Redaction,
    progress: Progress,
    save: Save,
    owners: Owners | None = None,
) -> tuple[list[Finding], Lost]:
    """The findings with their evidence, and the objects behind them.

    files: those that reach into their time.
    """
    pass_ = partial(_gathered, engine, files, how, names, read=read, progress=progress, save=save)
    seen, lost = Seen("shown"), Lost("objects", owners)
    evidence = pass_(seen, lost)
    if seen.miscounted:  # of differing copies a worse one was shown: now the best ones are known
        lost = Lost("objects-again", owners)
        evidence = pass_(Seen("shown-again", seen.contested), lost)
    shown = [
        leaving_finding(finding.with_evidence(one.to_json() | {"objects": objects}), redact)
        for finding, (one, objects) in zip(names.told(findings), evidence, strict=True)
    ]
    return shown, lost


def _gathered(
    engine: Engine,
    files: Files,
    how: Pass,
    names: Names,
    seen: Seen,
    lost: Lost,
    *,
    read: ReadAll,
    progress: Progress,
    save: Save,
) -> list[tuple[Evidence, int]]:
    """Evidence of each finding, and its number of distinct objects."""
    engine.lean_on_shelf(*seen.spilling(), *lost.spilling())
    evidence = [Evidence(lambda _: None) for _ in range(len(how.wanted) - len(names.numbers))]
    for batch, _ in followed(read(files, how.read), files, progress, "evidence", every=False):
        distinct = engine.distinct(batch, seen, how.columns)
        if len(distinct):
            view = BatchView(distinct)
            for number, mask in matches(distinct, how.wanted, how.groupings):
                rows = np.flatnonzero(mask)
                if number < len(evidence):
                    evidence[number].add(distinct, rows)
                    lost.add(number, distinct, rows)
                else:
                    names.add(number - len(evidence), view, rows)
        engine.spill(save)
    return list(zip(evidence, lost.counts(len(evidence)), strict=True))
