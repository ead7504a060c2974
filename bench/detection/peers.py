"""Detectors to compare with: z-scores, and River's own, each over the same figures of a role's five minutes.

Every one of them gets what plain use gives it: a score a (role, pane), a threshold set on development organisations
without a theft so that it costs what is asked, and a cooldown of a day after an alert (a page a role and day).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.core.access import I64, U64, AccessBatch, Operation, Outcome
from detector.core.net import nets
from replay.drill.thefts import AFTERGLOW, Theft

PANE, DAY = 300, 86_400
NAMES = ("requests", "objects", "new", "bytes", "networks", "errors")
LEARNT = 7
"""Days before anybody is judged."""


@dataclass
class Table:
    """Figures of active panes in order of time. role: code. steals: index of the theft a pane belongs to, or -1."""

    pane: I64
    role: I64
    figures: Any
    steals: I64
    thefts: list[str]
    start: int


@dataclass
class Features:
    """Gathers the figures of every role's five minutes; one day is held at a time, and what was ever read as hashes."""

    start: int
    _rows: list[Any] = field(default_factory=list)
    _day: list[Any] = field(default_factory=list)
    _known: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    _roles: dict[str, int] = field(default_factory=dict)
    _at: int = 0

    def take(self, batch: AccessBatch) -> None:
        """Take in a batch."""
        codes = [self._roles.setdefault(who.role, len(self._roles)) for who in batch.principals]
        role = np.array([*codes, -1], np.int64)[batch.who]
        reads = ((batch.operation == Operation.read) | (batch.operation == Operation.copy)) & (
            batch.outcome == Outcome.success
        )
        refused = (batch.operation == Operation.read) & (batch.outcome != Outcome.success)
        rows = np.flatnonzero((reads | refused) & (role >= 0))
        item = np.where(refused[rows], np.uint64(0), batch.object_hash(rows))
        net = nets(batch).hashes()[rows]
        self._day.append((batch.time[rows] // PANE, role[rows], item, batch.bytes[rows], net))
        day = int(batch.time.min()) // DAY
        if day > self._at:
            self._close()
            self._at = day

    def _close(self) -> None:
        """A day's figures; duplicates of a record count twice in `requests`, as they would for anybody."""
        if not self._day:
            return
        pane, role, item, size, net = (np.concatenate(column) for column in zip(*self._day, strict=True))
        self._day = []
        key = pane * 100_000 + role
        cells, cell = np.unique(key, return_inverse=True)
        count = len(cells)
        read = item != 0
        of = np.zeros((count, len(NAMES)))
        of[:, 0] = np.bincount(cell[read], minlength=count)
        of[:, 3] = np.bincount(cell, size, minlength=count)
        of[:, 5] = np.bincount(cell[~read], minlength=count)
        of[:, 1] = _distinct(cell[read], item[read], count)
        of[:, 4] = _distinct(cell, net, count)
        mine = item * np.uint64(31) + role.astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
        order = np.argsort(pane, kind="stable")
        order = order[read[order]]
        fresh, first = np.unique(mine[order], return_index=True)
        if len(self._known):
            at = np.minimum(np.searchsorted(self._known, fresh), len(self._known) - 1)
            unknown = self._known[at] != fresh
            fresh, first = fresh[unknown], first[unknown]
        of[:, 2] = np.bincount(cell[order[first]], minlength=count)
        self._known = np.union1d(self._known, fresh)
        self._rows.append((cells // 100_000 * PANE, cells % 100_000, of))

    def table(self, thefts: Sequence[Theft]) -> Table:
        """All that was gathered, with the labels."""
        self._close()
        pane, role, figures = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        order = np.argsort(pane, kind="stable")
        pane, role, figures = pane[order], role[order], figures[order]
        steals = np.full(len(pane), -1)
        for number, theft in enumerate(thefts):
            named = [code for name, code in self._roles.items() if name in theft.names]
            time = (pane + PANE > theft.started_at) & (pane <= theft.ended_at + AFTERGLOW)
            steals[np.isin(role, named) & time] = number
        return Table(pane, role, figures, steals, [theft.kind for theft in thefts], self.start)


def _distinct(cell: I64, item: U64, count: int) -> I64:
    order = np.lexsort((item, cell))
    cell, item = cell[order], item[order]
    new = np.ones(len(cell), np.bool_)
    new[1:] = (cell[1:] != cell[:-1]) | (item[1:] != item[:-1])
    return np.bincount(cell[new], minlength=count)


Score = Callable[[Table], Any]


def z_score(figure: str) -> Score:
    """Distance of log(1 + figure) from the role's own mean, in its deviations, exponentially forgetting."""
    column = NAMES.index(figure)

    def score(table: Table) -> Any:
        x = np.log1p(table.figures[:, column])
        mean: dict[int, tuple[float, float, int]] = {}
        out = np.zeros(len(x))
        for row, (role, value) in enumerate(zip(table.role.tolist(), x.tolist(), strict=True)):
            m, v, n = mean.get(role, (value, 0.0, 0))
            out[row] = max(0.0, value - m) / (v + 0.04) ** 0.5 if n >= 12 else 0.0
            a = max(0.01, 1 / (n + 1))
            mean[role] = (m + a * (value - m), (1 - a) * (v + a * (value - m) ** 2), n + 1)
        return out

    return score


def river(make: Callable[[], Any], *, each: str = "role", univariate: bool = False) -> Score:
    """River's detector, scored before it learns; `each`: one a role, or one for all."""

    def score(table: Table) -> Any:
        x = np.log1p(table.figures) / 20  # between 0 and 1, as HalfSpaceTrees wants it
        held: dict[int, Any] = {}
        out = np.zeros(len(x))
        for row, (role, values) in enumerate(zip(table.role.tolist(), x.tolist(), strict=True)):
            key = role if each == "role" else 0
            one = held.get(key)
            if one is None:
                one = held[key] = make()
            if univariate:
                out[row] = _one(one.score_one(None, values[1]))
                one.learn_one(None, values[1])
            else:
                features = dict(zip(NAMES, values, strict=True))
                out[row] = _one(one.score_one(features))
                one.learn_one(features)
        return out

    return score


def _one(value: Any) -> float:
    return float(value) if value is not None and math.isfinite(value) else 0.0


def peers() -> dict[str, Score]:
    """All detectors to compare with."""
    from river import anomaly

    return {
        "z-score of objects": z_score("objects"),
        "z-score of new objects": z_score("new"),
        "River HalfSpaceTrees, one for all": river(lambda: anomaly.HalfSpaceTrees(seed=1), each="all"),
        "River LODA, one for all": river(lambda: anomaly.LODA(seed=1), each="all"),
        "River GaussianScorer, one a role": river(lambda: anomaly.GaussianScorer(grace_period=12), univariate=True),
        "River StandardAbsoluteDeviation, one a role": river(anomaly.StandardAbsoluteDeviation, univariate=True),
    }


def alerts(table: Table, scores: Any, threshold: float) -> tuple[set[int], int]:
    """Which thefts were caught, and how many alerts no theft explains; an alert a role and day."""
    judged = table.pane >= table.start + LEARNT * DAY
    rows = np.flatnonzero(judged & (scores >= threshold))
    keys = table.pane[rows] // DAY * 100_000 + table.role[rows]
    _, first = np.unique(keys, return_index=True)
    caught = set(np.unique(table.steals[rows]).tolist()) - {-1}
    return caught, int((table.steals[rows[first]] < 0).sum())


def threshold(tables: Iterable[tuple[Table, Any]], per_thousand: float) -> float:
    """The score at which organisations without a theft give so many alerts a day and 1,000 principals."""
    worst = []
    for table, scores in tables:
        judged = table.pane >= table.start + LEARNT * DAY
        keys = table.pane[judged] // DAY * 100_000 + table.role[judged]
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        worst.append(np.maximum.reduceat(scores[judged][order], starts))
    maxima = np.sort(np.concatenate(worst))
    allowed = int(per_thousand / 1000 * len(maxima))
    return float(np.nextafter(maxima[-1 - allowed], np.inf))
