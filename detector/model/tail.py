"""How rare a z is, learned without labels from the daily maxima of the principals of a pool; pools in levels. Pure.

A rule is judged by pages a day, so rarity is asked of whole principal-days: p decades means that one principal-day in
10**p has a pane at least as unusual. Calibrating by pane instead is wrong by orders of magnitude (panes of a day hang
together). A pool that knows little leans on the one above it: peer group → kind of identity → organisation → what we
ship.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from detector.core.window import F64
from detector.model.score import WIDTH, Rarity

CALM = 3.0
"""A principal-day that stayed below 3 scales counts as 3: in a very steady pool a small step would otherwise be the
rarest thing ever seen, which is true and of no use."""
KEEP = 64
"""Daily maxima of a channel and day that are kept, the largest."""
DAYS = 28
REACH = 2.5
"""Decades that are claimed at most beyond the data."""
LEAST_DECADE = CALM / 12 * math.log(10)
"""Scales that make a decade beyond the data, at least."""
LEAN = 60.0
"""Principal-days at which a pool weighs as much as the one above it."""

TailState = list[tuple[int, int, int, bytes]]
"""Per day: its number, principals, rows kept, and the float32 maxima (rows kept x channels)."""


class Shipped:
    """What an organisation like others would show: one day in ten reaches `CALM`, one in ten of these `SLOPE` more."""

    SLOPE, MOST = 2.5, 4.0

    def decades(self, channel: int, z: float) -> float:  # noqa: ARG002  the protocol's
        return 0.0 if z < CALM else min(self.MOST, 1.0 + (z - CALM) / self.SLOPE)


class Tail:
    """The largest daily maxima of a pool, by channel, over the last 28 days."""

    def __init__(self) -> None:
        self._days: dict[int, tuple[int, F64]] = {}
        self.count = 0
        self._top: list[list[float]] = [[] for _ in range(WIDTH)]
        self._decade = [LEAST_DECADE] * WIDTH

    def add(self, day: int, maxima: F64) -> None:
        """Take in a day: the maxima (principals x channels) of everyone who was active."""
        if len(maxima):
            kept = -np.sort(-maxima, axis=0)[:KEEP]
            self._days[day] = len(maxima), np.maximum(kept, CALM).astype(np.float32).astype(np.float64)
        self._days = {one: rows for one, rows in self._days.items() if one > day - DAYS}
        self._fit()

    def decades(self, channel: int, z: float) -> float:
        """-log10 of the share of principal-days with at least this z; 0 below `CALM`."""
        top = self._top[channel]
        if z < CALM or not top:
            return 0.0
        if z > top[-1]:
            return math.log10(2.0 * (self.count + 1)) + min(REACH, (z - top[-1]) / self._decade[channel])
        if z < top[0]:
            return math.log10((self.count + 1) / (len(top) + 0.5)) * z / top[0]
        return math.log10((self.count + 1) / (len(top) - bisect_left(top, z) + 0.5))

    def state(self) -> TailState:
        """The whole state, as plain numbers."""
        return [(day, n, len(rows), rows.astype(np.float32).tobytes()) for day, (n, rows) in sorted(self._days.items())]

    @classmethod
    def load(cls, state: TailState) -> Tail:
        """The tail that a state describes."""
        tail = cls()
        for day, count, kept, rows in state:
            tail._days[day] = count, np.frombuffer(rows, np.float32).reshape(kept, WIDTH).astype(np.float64)
        tail._fit()
        return tail

    def __len__(self) -> int:
        """Days held."""
        return len(self._days)

    def _fit(self) -> None:
        """Sort what is kept; how much z makes a decade beyond it: the mean excess of the largest tenth (5 to 50)."""
        self.count = sum(n for n, _ in self._days.values())
        if not self.count:
            return
        rows = np.sort(np.concatenate([rows for _, rows in self._days.values()]), axis=0)
        self._top = rows.T.tolist()
        count = min(max(self.count // 10, 5), 50, len(rows) - 1)
        if count >= 1:
            excess = rows[-count:].mean(axis=0) - rows[-count - 1]
            self._decade = np.maximum(excess * math.log(10), LEAST_DECADE).tolist()


class Pooled:
    """Rarity over pools, the widest first: each leans on the one before it. Channels in `muted` say nothing."""

    def __init__(self, pools: Sequence[Tail], muted: frozenset[int] = frozenset()) -> None:
        self._shipped: Rarity = Shipped()
        self._pools = [(pool, pool.count / (pool.count + LEAN)) for pool in pools if pool.count]
        self._muted = muted

    def decades(self, channel: int, z: float) -> float:
        """The pools' decades, each weighed by what it knows."""
        if z < CALM or channel in self._muted:
            return 0.0
        found = self._shipped.decades(channel, z)
        for pool, weight in self._pools:
            found += weight * (pool.decades(channel, z) - found)
        return found
