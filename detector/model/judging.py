"""How unusual the roles of a pane are: scores, the seconds at which they reach the line, what explains them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, Index
from detector.core.finding import LIST_LIMIT
from detector.core.principal import fingerprint
from detector.core.window import F64
from detector.model.channels import COUNTERS, SUB_PANE, SUB_PANES, Counter
from detector.model.judgement import Judgement, Reason, reasons
from detector.model.levels import Levels
from detector.model.organisation import Organisation
from detector.model.own import AT, Own
from detector.model.pane import Pane, Past, filling, fresh, scales
from detector.model.roles import Role
from detector.model.rows import Counted, Rows
from detector.model.score import Rarity, judge
from detector.model.tail import CALM


class Told(NamedTuple):
    """The rows behind a pane's counts, from `first` to `end` (not included), for whoever asks what they were."""

    rows: Rows
    counted: Counted
    first: int
    end: int

    def prefixes(self, role: int) -> tuple[tuple[int, int], ...]:
        """Prefixes of a role's new keys, the most first."""
        return _most(self.rows.prefix[self._of(role, Counter.new)])

    def nets(self, role: int) -> tuple[tuple[int, int], ...]:
        """Networks a role came from, the most first."""
        mine = self.rows.role[self.first : self.end] == role
        return _most(self.rows.net[self.first : self.end][mine])

    def cells(self, role: int, start: int) -> I64:
        """What a role counted in each sub-pane of the pane from `start` on: (sub-panes, counters)."""
        out = np.zeros((SUB_PANES, COUNTERS), np.int64)
        for counter in Counter:
            some = self._of(role, counter)
            sub = (self.rows.second[some] - start) // SUB_PANE
            inside = (sub >= 0) & (sub < SUB_PANES)
            weights = self.rows.amount[some[inside]].astype(np.float64) if counter is Counter.bytes else None
            out[:, counter] = np.bincount(sub[inside], weights, SUB_PANES)
        return out

    def _of(self, role: int, counter: Counter) -> Index:
        """The rows of a role that count."""
        some = self.counted.rows[counter]
        mine: Index = some[(some >= self.first) & (some < self.end) & (self.rows.role[some] == role)]
        return mine


class Judging:
    """Judges roles by what their organisation knows. own: a detector in the place of the channels."""

    def __init__(self, organisation: Organisation, levels: Levels, own: Own | None) -> None:
        self._organisation, self._levels, self._own = organisation, levels, own

    def pane(
        self, roles: Sequence[Role], pane: Pane, past: Past, seen: F64, told: Told, *, today: bool = False
    ) -> list[Judgement]:
        """Judge a pane; roles: of its rows. today: note the day's largest z and score."""
        x, line, learning = fresh(seen, pane.totals), self._organisation.line, self._organisation.learning
        groups = [roles[one].who.group for one in pane.role.tolist()] if self._own else []
        z = self._own.scales(groups, x, today=today) if self._own else scales(x, past)
        if today:
            self._levels.maxima[pane.slots] = np.maximum(self._levels.maxima[pane.slots], z)
        if not self._organisation.pools.known:
            return []
        found = []
        for at in np.flatnonzero(z.max(axis=1) >= CALM).tolist():
            number = int(pane.role[at])
            role, mean = roles[number], past.mean[at].tolist()
            rarity = self._organisation.pools.rarity(role.who.group, role.who.kind, pane.start - role.first)
            values = x[at].tolist()
            judged = judge(values, z[at].tolist(), mean, rarity)
            if today and not learning:
                role.score = max(role.score, judged.score)
            if not learning and judged.score >= line:
                cells = told.cells(number, pane.start)
                crossings = self._crossings(role, rarity, cells, past.of(at), pane.start)
                why = reasons(judged.channels, judged.decades, values, [max(0.0, one) for one in mean])
                if self._own:
                    why = (Reason("detector", "score_5m", z[at, AT].item(), 0.0, max(judged.decades)),)
                found.append(
                    Judgement(
                        pane.start, fingerprint(role.who.key), role.who.key, line, judged.score, crossings, why,
                        judged.stake, told.prefixes(number), told.nets(number),
                    )
                )  # fmt: skip
        return found

    def _crossings(
        self, role: Role, rarity: Rarity, cells: I64, past: Past, start: int
    ) -> tuple[tuple[int, float], ...]:
        """The first and the last second of the pane at which the score is at or above the line."""
        x = filling(cells, past)
        filled = np.flatnonzero(cells.any(axis=1))
        z, mean = scales(x, past), past.mean.tolist()
        if self._own:
            z[filled] = self._own.scales([role.who.group] * len(filled), x[filled])
        scored: list[tuple[int, float]] = []
        for sub in filled.tolist():
            score = judge(x[sub].tolist(), z[sub].tolist(), mean, rarity).score
            if score >= self._organisation.line:
                scored.append((start + (sub + 1) * SUB_PANE - 1, score))
        return (scored[0], scored[-1]) if len(scored) > 1 else tuple(scored)


def _most(hashes: U64) -> tuple[tuple[int, int], ...]:
    unique, counts = np.unique(hashes[hashes != 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:LIST_LIMIT]
    return tuple(zip(unique[order].tolist(), counts[order].tolist(), strict=True))
