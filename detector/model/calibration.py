"""`Tail`: how rare a score is, learned without labels from the worst pane of every role-day. Pure.

A rule is judged by pages a day, so rarity is asked of whole role-days: p decades means that one role-day in 10**p has a
pane at least as unusual. Calibrating by pane instead is wrong by orders of magnitude (panes of a day hang together).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort

CALM = 3.0
"""A role-day whose worst pane stayed below 3 scales counts as 3: in a very steady organisation a small step would
otherwise be the rarest thing ever seen, which is true and of no use."""

KEEP = 512
REACH = 2.5
"""Decades that are claimed at most beyond the data."""

STEP = 0.5
"""Decades by which one role-day may push the edge of the data: a theft shall not hide the next one of its size."""

_SCALE_OF_CALM = 12
"""The exponential beyond the data never falls faster than a factor of e in calm/12 (a quarter of a scale)."""

TailState = tuple[int, list[float]]
"""Role-days seen, and the largest of their maxima in ascending order: the whole state."""


class Tail:
    """The largest daily maxima of a score over all roles.

    Args:
        quiet_until: role-days to see before anything is called rare at all.
        calm: the score below which role-days are not told apart.
        keep: how many maxima are kept; rarity below the smallest of them is only estimated.
    """

    def __init__(self, quiet_until: int = 20, calm: float = CALM, keep: int = KEEP) -> None:
        self.quiet_until = quiet_until
        self.calm = calm
        self.keep = keep
        self._days = 0
        self._top: list[float] = []
        self._decade = self._fit()

    @property
    def quiet(self) -> bool:
        return self._days < max(1, self.quiet_until)

    @property
    def days(self) -> int:
        """Role-days seen."""
        return self._days

    def add(self, maximum: float) -> None:
        """Take in the worst pane of one role-day."""
        value = max(self.calm, maximum)
        if not self.quiet:
            value = min(value, self._top[-1] + STEP * self._decade)
        insort(self._top, value)
        del self._top[: -self.keep]
        self._days += 1
        self._decade = self._fit()

    def decades(self, z: float) -> float:
        """-log10 of the share of role-days with a pane at least as large as z; 0 while quiet and below `calm`."""
        if self.quiet or z < self.calm:
            return 0.0
        if z > self._top[-1]:
            return self._rarity(0) + min(REACH, (z - self._top[-1]) / self._decade)
        if z < self._top[0]:
            return self._rarity(len(self._top)) * z / self._top[0]
        return self._rarity(len(self._top) - bisect_left(self._top, z))

    def state(self) -> TailState:
        return self._days, list(self._top)

    def load(self, state: TailState) -> None:
        days, top = state
        self._days, self._top = days, list(top)
        self._decade = self._fit()

    def _rarity(self, rank: int) -> float:
        """Decades of a value that `rank` of the role-days reached."""
        return -math.log10((rank + 0.5) / (self._days + 1)) if rank < self._days else 0.0

    def _fit(self) -> float:
        """How much score makes one decade beyond the data: the mean excess of the largest tenth (5 to 50 of them)."""
        count = min(max(self._days // 10, 5), 50, len(self._top) - 1)
        least = max(self.calm / _SCALE_OF_CALM, 1e-6)
        if count < 1:
            return least * math.log(10)
        largest = self._top[-count:]
        excess = sum(largest) / count - self._top[-count - 1]
        return max(least, excess) * math.log(10)
