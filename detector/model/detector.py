"""`RateResidual`: how far one pane of one role lies above what is usual for it. A River anomaly detector. Pure.

x' = log(1 + value); an exponentially weighted mean and variance of x', shrunk towards a pool while the role is young;
z = max(0, (x' - m) / sqrt(v + NOISE)). Only an excess counts: reading less than usual is no theft.

Importing this module imports `river.stats` (about 0.3 s of CPU where numpy is loaded): import it only when a baseline
rule is loaded. `river.anomaly` costs ten times that and is not needed: the base class lives in `river.base`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from river.base import AnomalyDetector
from river.stats import EWMean

ALPHA = 0.02
"""Weight of one active pane in a role's mean and variance: a memory of 50 panes, about four active hours, so that the
level follows the rhythm of the day instead of counting it as noise. On simulated organisations a burst of 50 times the
usual then passed 3 decades in 12 of 12 roles, and in 10 of 12 at the .002 of detection.md, which is meant for many
channels over weeks. Means are corrected for their short history, so a young role waits for nothing."""

CLIP = 2.0
"""Scales above the level that a pane can teach at most. A pane held at the clip multiplies the variance by about
1 + alpha (clip^2 - 1), and so moves the clip itself: over an hour of theft 23-fold at clip 4 and alpha .02, twofold at
clip 2 (1.4-fold at the clip 4 and alpha .002 of detection.md). Measured: of an hour at 50 times the usual, 92 % of the
panes stay above 3 decades at clip 2, 30 % at clip 4."""

POOL_ALPHA = 0.0002
"""The pool sees every role's panes: a longer memory, so that it does not follow the hour of the day."""

NOISE = 0.04
"""Variance nobody's steadiness goes below: a factor of 1.2 is never news, and a constant stream cannot explode."""

Moments = tuple[int, float, float]
"""Panes learned, and the two weighted sums, of x' and of x' squared: the whole state."""


class RateResidual(AnomalyDetector):
    """Excess of one measure over its robust, slowly moving level.

    Args:
        measure: the feature that is read; absent counts as 0.
        alpha: weight of one learned pane in mean and variance.
        clip: a pane teaches at most mean + clip * scale, so that a theft cannot teach its own baseline.
        prior: how many panes of its own a role needs until its level weighs as much as the pool's.
        pool: the level of all roles, read and never taught from here; None for no shrinkage.
    """

    def __init__(
        self,
        measure: str = "objects",
        alpha: float = ALPHA,
        clip: float = CLIP,
        prior: float = 30.0,
        pool: RateResidual | None = None,
    ) -> None:
        self.measure = measure
        self.alpha = alpha
        self.clip = clip
        self.prior = prior
        self.pool = pool
        self.load((0, 0.0, 0.0))

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Move the level towards this pane, at most by `clip` scales."""
        value = self._log(x)
        if self.known:
            mean, scale = self.level()
            value = min(value, mean + self.clip * scale)
        self._mean.update(value)
        self._square.update(value * value)
        self._panes += 1

    def score_one(self, x: dict[Hashable, Any]) -> float:
        """Scales above the level; 0 below it, and while nothing at all is known."""
        if not self.known:
            return 0.0
        mean, scale = self.level()
        return max(0.0, (self._log(x) - mean) / scale)

    @property
    def known(self) -> bool:
        """Whether anything was learned, here or in the pool."""
        return self._panes > 0 or (self.pool is not None and self.pool.known)

    def expected(self) -> float:
        """The typical value of the measure in one active pane."""
        return math.expm1(self.level()[0])

    def own_level(self) -> tuple[float, float]:
        """Mean and variance of x' as learned here, corrected for a short history; zeros before anything was."""
        if not self._panes:
            return 0.0, 0.0
        weight = 1.0 - (1.0 - self.alpha) ** self._panes
        mean = self._mean.get() / weight
        return mean, max(0.0, self._square.get() / weight - mean * mean)

    def level(self) -> tuple[float, float]:
        """Mean and scale of x', shrunk towards the pool."""
        mean, variance = self.own_level()
        if self.pool is not None and self.pool.known:
            share = self.prior / (self.prior + self._panes)
            pool_mean, pool_variance = self.pool.own_level()
            mean += share * (pool_mean - mean)
            variance += share * (pool_variance - variance)
        return mean, math.sqrt(variance + NOISE)

    def state(self) -> Moments:
        """Everything learned, as plain numbers."""
        return self._panes, self._mean.get(), self._square.get()

    def load(self, state: Moments) -> None:
        """Take up a `state()`; scores go on exactly where they were.

        A fresh `EWMean` takes its first value whole: one update restores it, and starting at 0 makes it a plain
        weighted sum, which `own_level` divides by the weights so far.
        """
        self._panes, mean, square = state
        self._mean, self._square = EWMean(self.alpha), EWMean(self.alpha)
        self._mean.update(mean)
        self._square.update(square)

    def _log(self, x: dict[Hashable, Any]) -> float:
        return math.log1p(max(0.0, x.get(self.measure, 0.0)))
