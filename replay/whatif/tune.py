"""A rule with other thresholds and windows: what it would have found in history, and what to take. Pure.

Every figure is a replay's: a step says what a replay with this threshold and window finds. Pages are findings as storm
control would send them: of more than it sends by themselves in its window, the rest is one digest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detector.core.access import I64, Index, Mask
from detector.core.groupings import IDENTITY
from detector.core.peers import peer_group
from detector.core.rule import DISTINCT_CAP, DISTINCT_MEASURES, Threshold
from detector.core.window import F64, starts_of_runs
from detector.storm import STORM
from replay.whatif.labels import Catch, Label, Trace
from replay.whatif.summary import DAY, Summary
from replay.whatif.windows import Episodes, Maxima, Values, day_maxima, episodes, values, with_window

NEIGHBOURS = (60, 300, 900, 3600, 86_400)
"""Windows that are looked at beside the rule's own, in seconds."""
QUANTILES = (0.5, 0.9, 0.99, 0.999)
NAMED = 20
"""Groups that are named of a step, the busiest first."""
KINDS_SHOWN = 12
LARGEST = 6


@dataclass(frozen=True, slots=True)
class Named:
    """A group with findings: what a person is shown of it, a text a level; how many findings; the largest value."""

    shown: tuple[str, ...]
    findings: int
    peak: float


@dataclass(frozen=True, slots=True)
class Step:
    """What one threshold finds. busiest: the most findings that opened on one UTC day."""

    threshold: float
    findings: int
    findings_a_day: float
    pages_a_day: float
    busiest: int
    groups: int
    named: tuple[Named, ...]
    catches: tuple[Catch, ...]

    @property
    def caught(self) -> int:
        """How many of the labelled thefts are found."""
        return sum(one.delay is not None for one in self.catches)


@dataclass(frozen=True, slots=True)
class Spread:
    """The largest value of each group and day, of groups of one kind. quantiles: as in QUANTILES, real values."""

    kind: str
    group_days: int
    quantiles: tuple[float, ...]
    most: float


@dataclass(frozen=True, slots=True)
class Table:
    """One window. spreads: all groups, by type of identity, by peer group. steps: from the lowest threshold up."""

    window: int
    spreads: tuple[Spread, ...]
    steps: tuple[Step, ...]

    def at(self, threshold: float) -> Step | None:
        """The step of a threshold."""
        return next((step for step in self.steps if step.threshold == threshold), None)


def tables(summary: Summary, rule: Threshold, windows: Sequence[int], labels: Sequence[Label]) -> list[Table]:
    """What the rule finds with each of these windows."""
    traces = [Trace(label, summary) for label in labels]
    kinds = _kinds(summary, rule)
    return [_table(summary, with_window(rule, window), kinds, traces) for window in windows]


def windows_of(rule: Threshold) -> tuple[int, ...]:
    """The rule's own window and its neighbours."""
    return tuple(sorted({rule.window, *NEIGHBOURS}))


def _table(summary: Summary, rule: Threshold, kinds: list[tuple[str, Mask]], traces: list[Trace]) -> Table:
    found = values(summary, rule)
    maxima = day_maxima(found)
    steps = []
    for threshold in ladder(maxima, rule):
        found = [block.reaching(threshold) for block in found]
        steps.append(_step(summary, rule, threshold, found, traces))
    return Table(rule.window, tuple(_spreads(maxima, kinds)), tuple(steps))


def _step(summary: Summary, rule: Threshold, threshold: float, found: Sequence[Values], traces: list[Trace]) -> Step:
    every = episodes(found, rule.window)
    _, of_day = np.unique(every.opened_at // DAY, return_counts=True)
    firsts = starts_of_runs(every.group)
    return Step(
        threshold,
        len(every),
        len(every) / summary.days,
        pages(every.opened_at) / summary.days if pays(rule) else 0.0,
        int(of_day.max(initial=0)),
        len(firsts),
        _named(summary, every, firsts),
        tuple(trace.caught(every, rule.granularity) for trace in traces),
    )


def pays(rule: Threshold) -> bool:
    """Whether its findings are pages, once it is live."""
    return rule.severity not in ("info", "low")


def pages(opened_at: I64) -> int:
    """How many messages tell of findings that opened then."""
    _, together = np.unique(opened_at // STORM.window, return_counts=True)
    return int(np.minimum(together, STORM.single + 1).sum())


def _named(summary: Summary, every: Episodes, firsts: Index) -> tuple[Named, ...]:
    """firsts: where in the episodes each group begins."""
    if not len(firsts):
        return ()
    groups, counts = every.group[firsts], np.diff(np.append(firsts, len(every)))
    peaks = np.maximum.reduceat(every.peak, firsts)
    busiest = np.lexsort((groups, -peaks, -counts))[:NAMED]
    return tuple(
        Named(tuple(summary.shown[int(groups[at])]), int(counts[at]), float(peaks[at])) for at in busiest.tolist()
    )


def ladder(maxima: Maxima, rule: Threshold) -> list[float]:
    """Thresholds worth looking at: the rule's own, 1-2-5 steps, quantiles, and just above what the largest groups do.

    At the highest all is quiet, unless the cap of distinct measures forbids it.
    """
    usual = [value for share in QUANTILES if (value := _quantile(maxima.value, share)) >= 1]
    largest = np.sort(_of_groups(maxima))[-LARGEST:].tolist()
    wanted = {float(rule.threshold), *map(rounded, usual), *(rounded(value + 1) for value in largest)}
    wanted |= set(_steps(usual[0], largest[-1])) if usual else set()
    cap = DISTINCT_CAP if rule.measure in DISTINCT_MEASURES else math.inf
    return sorted(value for value in wanted if value <= cap)


def _of_groups(maxima: Maxima) -> F64:
    """The largest value of every group."""
    starts = starts_of_runs(maxima.group)
    return np.maximum.reduceat(maxima.value, starts) if len(starts) else maxima.value


def _steps(least: float, most: float) -> Iterator[float]:
    """1, 2, 5, 10, … from about `least` to the first above `most`."""
    power = 10.0 ** math.floor(math.log10(least))
    while power <= most:
        for digit in (1, 2, 5):
            if digit * power >= least / 2:
                yield digit * power
        power *= 10


def rounded(value: float) -> float:
    """Up to two digits."""
    step = 10.0 ** max(0, math.floor(math.log10(value)) - 1) if value >= 1 else 1.0
    return math.ceil(value / step) * step


def _quantile(found: F64, share: float) -> float:
    return float(np.quantile(found, share, method="higher")) if len(found) else 0.0


def _kinds(summary: Summary, rule: Threshold) -> list[tuple[str, Mask]]:
    """Kinds of groups: all, by type of identity, and the peer groups with most groups; which groups are of each."""
    found = [("all", np.ones(summary.groups, np.bool_))]
    if not summary.groups or not set(rule.group_by) & set(IDENTITY):
        return found
    first = summary.who[summary.starts[:-1]]
    for told in (lambda p: p.type, lambda p: f"like {peer_group(p)}"):
        texts = np.array([*map(told, summary.principals), "unknown"], object)[first]
        names, counts = np.unique(texts, return_counts=True)
        most = names[np.argsort(-counts, kind="stable")][:KINDS_SHOWN]
        found += [(str(name), texts == name) for name in most]
    return found


def _spreads(maxima: Maxima, kinds: list[tuple[str, Mask]]) -> Iterator[Spread]:
    for kind, of in kinds:
        mine = maxima.value[of[maxima.group]] if len(maxima.group) else maxima.value
        if len(mine):
            yield Spread(kind, len(mine), tuple(_quantile(mine, share) for share in QUANTILES), float(mine.max()))
