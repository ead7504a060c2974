"""Findings → incidents, once a replay has them all: what links them, what they lost together, one plan.

Most links are in the findings. Who else came from a network at that time is not: where two findings have nothing but a
network in common, the files of that time are read once more. Who began whose session was noted on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.core.access import AccessBatch, text_hash
from detector.core.admit import Admission
from detector.core.finding import Finding
from detector.core.groupings import Groupings
from detector.core.incident import Incident, Loss, incident, worst_first
from detector.core.links import Answers, Link, Question, Trace, joined, questions, trace
from detector.core.redaction import Redaction, leaving_owner
from detector.core.sought import Asked, Sought
from detector.core.ways import Chains, networks, sessions
from detector.logs.limits import Limits
from detector.response.incident import one_plan
from replay.files import Files, LogPath
from replay.reader import FileRead, ReadAll, Reads, Records, followed

if TYPE_CHECKING:
    from replay.options import Options

Losses = Callable[[Sequence[Sequence[int]]], list[Loss]]


@dataclass(frozen=True, slots=True)
class Look:
    """How to look into the logs once more.

    reads: what came of the files before. read, how: files are read. chains: who began whose session, if that was noted.
    """

    files: Files
    reads: Reads
    read: ReadAll
    how: Records
    options: Options
    chains: Chains | None


def incidents(findings: Sequence[Finding], look: Look, losses: Losses) -> list[Incident]:
    """The incidents of these findings, the worst first. losses: of groups of them, by number."""
    callers = look.chains.callers if look.chains else lambda _: ()
    traces = [trace(finding, callers) for finding in findings]
    groups, links = joined(traces, _answers(questions(traces), look))
    made = [
        incident([findings[one] for one in group], within, _leaving(loss, look.options.redact))
        for group, within, loss in zip(groups, _within(traces, links, groups), losses(groups), strict=True)
    ]
    return worst_first(replace(one, plan=one_plan(_told(one), planned_at=one.last_at)) for one in made)


def _told(one: Incident) -> list[dict[str, Any]]:
    return [finding.to_json() for finding in one.findings]


def _within(
    traces: Sequence[Trace], links: Sequence[Link], groups: Sequence[Sequence[int]]
) -> list[list[tuple[Link, list[str]]]]:
    """The links within each group, with the ids of the findings they join."""
    group_of = {one: number for number, group in enumerate(groups) for one in group}
    out: list[list[tuple[Link, list[str]]]] = [[] for _ in groups]
    for link in links:
        out[group_of[link.between[0]]].append((link, [traces[one].finding_id for one in link.between]))
    return out


def _leaving(loss: Loss, redact: Redaction) -> Loss:
    return replace(loss, named=tuple(leaving_owner(owner, redact) for owner in loss.named))


def _answers(asked: Sequence[Question], look: Look) -> Answers:
    """What the logs say about these questions."""
    of_nets = [question for question in asked if question.key.kind == "network"]
    answers: dict[Question, set[int]] = {question: set() for question in of_nets}
    if of_nets:
        reaching = np.logical_or.reduce([look.reads.within(one.first - 1, one.last) for one in of_nets])
        files = look.files.only(np.flatnonzero(reaching))
        came = look.read(files, partial(_came, look.how, of_nets, look.options.admission, look.options.limits))
        for batch, _ in followed(came, files, look.options.progress, "who else came that way", every=False):
            _note(batch, answers)
    found = {question: frozenset(came) for question, came in answers.items()}
    of_chains = [question for question in asked if question.key.kind == "chain" and look.chains]
    return found | {question: look.chains.came(question) for question in of_chains if look.chains}


def _came(
    how: Records, asked: Sequence[Question], admission: Admission, limits: Limits, files: list[LogPath]
) -> tuple[AccessBatch, list[FileRead]]:
    """The records of these files that came from one of the networks in its time."""
    sought = Sought((Asked(one.first - 1, one.last) for one in asked), Groupings())
    batch, outcomes = how(files, frozenset({"source_ip", "bucket"}), limits, sought)
    batch = admission.apply(batch).requests()
    rows, nets = networks(batch)
    chosen = np.zeros(len(rows), np.bool_)
    for question in asked:
        chosen |= _fits(batch, rows, nets, question)
    return batch.take(rows[chosen]), outcomes


def _note(batch: AccessBatch, answers: Mapping[Question, set[int]]) -> None:
    rows, nets = networks(batch)
    for question, came in answers.items():
        fits = rows[_fits(batch, rows, nets, question)]
        if len(fits):
            came.update(np.unique(sessions(batch, fits)).tolist())


def _fits(batch: AccessBatch, rows: Any, nets: Any, question: Question) -> Any:
    time = batch.time[rows]
    there = nets == np.uint64(text_hash(question.key.what))
    return there & (time >= question.first) & (time <= question.last)
