"""What every role has learned, as arrays: the same arithmetic as `RoleDetector`, for all roles of a pane at once. Pure.

Role by role the detector's Python would cost more than all the rest; a test holds that both agree to the last bit.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from detector.core.access import Index
from detector.core.window import F64
from detector.model.score import ALPHA, CLIP, NOISE, PRIOR, WIDTH, Level, Moments
from detector.model.slots import grown

SETTLED = 20_000
"""Panes learned from which on no further one changes what they weigh: what is left is lost in rounding."""


class Levels:
    """By slot and channel: weighted sums of x and of x squared, the peers' level, and the day's largest z."""

    def __init__(self) -> None:
        self.maxima = np.zeros((256, WIDTH))
        self._mean, self._square = self.maxima.copy(), self.maxima.copy()
        self._peer_mean, self._peer_variance = self.maxima.copy(), self.maxima.copy()
        self._panes = np.zeros(256, np.int64)

    def usual(self, slots: Index) -> tuple[F64, F64]:
        """Mean and scale of x: (roles, channels), shrunk towards the peers."""
        _, share, correction = self._of(slots)
        mean = self._mean[slots] * correction
        variance = self._square[slots] * correction - mean * mean
        kept = 1.0 - share
        variance = np.where(variance > 0.0, kept * variance, 0.0)
        mean = kept * mean + share * self._peer_mean[slots]
        return mean, np.sqrt(variance + share * self._peer_variance[slots] + NOISE)

    def learn(self, slots: Index, x: F64, mean: F64, scale: F64) -> None:
        """Move the levels towards these logs, at most by `CLIP` scales each."""
        x = np.minimum(x, mean + CLIP * scale)
        for sums, one in ((self._mean, x), (self._square, x * x)):
            sums[slots] = ALPHA * one + (1.0 - ALPHA) * sums[slots]
        self._panes[slots] += 1

    def own(self, slots: Index) -> tuple[F64, F64, F64]:
        """Mean and variance as learned here, and the panes they weigh as much as."""
        weight, _, correction = self._of(slots)
        mean = self._mean[slots] * correction
        return mean, np.maximum(0.0, self._square[slots] * correction - mean * mean), weight[:, 0]

    def lean(self, slot: int, peers: Level) -> None:
        """From now on this is what is usual for the role's peers."""
        self._peer_mean[slot], self._peer_variance[slot] = peers.mean, peers.variance

    def clear(self, slot: int) -> None:
        """Nothing is known of whoever has this slot."""
        for one in (self.maxima, self._mean, self._square, self._panes):
            one[slot] = 0

    def state(self, slot: int) -> Moments:
        """What one role has learned, as a `RoleDetector` would tell it."""
        seen = np.flatnonzero(self._square[slot])
        return (
            int(self._panes[slot]), seen.tolist(), self._mean[slot, seen].tolist(), self._square[slot, seen].tolist(),
        )  # fmt: skip

    def load(self, slot: int, state: Moments) -> None:
        """Take up a `state()`."""
        self.reserve(slot)
        self._panes[slot], channels, means, squares = state
        self._mean[slot, channels], self._square[slot, channels] = means, squares

    def reserve(self, slot: int) -> None:
        """Make room for this slot."""
        self._panes, self.maxima = grown(self._panes, slot), grown(self.maxima, slot)
        self._mean, self._square = grown(self._mean, slot), grown(self._square, slot)
        self._peer_mean, self._peer_variance = grown(self._peer_mean, slot), grown(self._peer_variance, slot)

    def _of(self, slots: Index) -> _Shares:
        """As columns beside the channels."""
        panes = np.minimum(self._panes[slots], SETTLED)
        return _Shares(*(column[panes, None] for column in _shares()))


class _Shares(NamedTuple):
    """By panes learned: what they weigh, how much the peers do, and by what to multiply the sums so far."""

    weight: F64
    peers: F64
    correction: F64


@cache
def _shares() -> _Shares:
    """By the same arithmetic as one detector's: numpy's power differs from Python's in the last bit."""
    weight = np.array([(1.0 - (1.0 - ALPHA) ** n) / ALPHA for n in range(SETTLED + 1)])
    with np.errstate(divide="ignore"):
        correction = np.where(weight > 0.0, 1.0 / (ALPHA * weight), 0.0)
    return _Shares(weight, PRIOR / (PRIOR + weight), correction)
