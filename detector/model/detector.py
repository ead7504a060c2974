"""`RoleDetector`: how unusual one pane of one role is, given its past and its peers'. A River anomaly detector. Pure.

Per channel an exponentially weighted mean and mean square of x = log(1 + value), made of `river.stats`, shrunk towards
the role's peers while it is young: z = max(0, (x - m) / sqrt(v + NOISE)). Only an excess counts: reading less than
usual is no theft. What is learned is clipped, so that a theft cannot teach its own baseline.

This is the definition, one role at a time, for River's pipelines and for tests: the daemon and replay run `Levels`, the
same arithmetic for all roles of a pane at once, and so never import River (0.3 s of CPU). `river.anomaly` costs ten
times that and is not needed: the base class lives in `river.base`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

from river.base import AnomalyDetector
from river.stats import EWMean

from detector.model.score import ALPHA, CLIP, NAMES, NOISE, PRIOR, WIDTH, Judged, Level, Moments, Rarity, judge


class Everyday:
    """Nothing is rare: before anything is known."""

    def decades(self, channel: int, z: float) -> float:  # noqa: ARG002  the protocol's
        return 0.0


class RoleDetector(AnomalyDetector):
    """One role's channels.

    Args:
        peers: what is usual for its peers; replaced at midnight.
        rarity: how rare a z is among them; replaced at midnight.
    """

    def __init__(self, peers: Level | None = None, rarity: Rarity | None = None) -> None:
        self.peers = peers or Level([0.0] * WIDTH, [0.0] * WIDTH)
        self.rarity = rarity or Everyday()
        self._stats: list[tuple[EWMean, EWMean] | None] = [None] * WIDTH
        self.panes = 0

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Move the levels towards this pane; features by the names of the channels."""
        self.learn([math.log1p(max(0.0, x.get(name, 0.0))) for name in NAMES])

    def score_one(self, x: dict[Hashable, Any]) -> float:
        """The score, in decades of principal-days."""
        values = [math.log1p(max(0.0, x.get(name, 0.0))) for name in NAMES]
        return self.judge(values, self.scales(values)).score

    def levels(self) -> list[tuple[float, float]]:
        """Mean and scale of x by channel, shrunk towards the peers."""
        share, correction = self._shares()
        kept = 1.0 - share
        out = []
        for stats, peer_mean, peer_variance in zip(self._stats, self.peers.mean, self.peers.variance, strict=True):
            if stats is None:
                out.append((share * peer_mean, math.sqrt(share * peer_variance + NOISE)))
                continue
            mean = stats[0].get() * correction
            variance = stats[1].get() * correction - mean * mean
            variance = kept * variance if variance > 0.0 else 0.0
            out.append((kept * mean + share * peer_mean, math.sqrt(variance + share * peer_variance + NOISE)))
        return out

    def scales(self, values: Sequence[float], levels: Sequence[tuple[float, float]] | None = None) -> list[float]:
        """Z of every channel; values are x, the logs."""
        return [
            (x - m) / scale if x > m and x > 0.0 else 0.0
            for x, (m, scale) in zip(values, levels or self.levels(), strict=True)
        ]

    def judge(
        self, values: Sequence[float], scales: Sequence[float], levels: Sequence[tuple[float, float]] | None = None
    ) -> Judged:
        """The score of a pane with these logs, scales and levels."""
        return judge(values, scales, [mean for mean, _ in levels or self.levels()], self.rarity)

    def learn(self, values: Sequence[float], levels: Sequence[tuple[float, float]] | None = None) -> None:
        """Move the levels towards these logs, at most by `CLIP` scales each."""
        for channel, (x, (m, scale)) in enumerate(zip(values, levels or self.levels(), strict=True)):
            stats = self._stats[channel]
            if stats is None:
                if x <= 0.0:
                    continue
                stats = self._stats[channel] = _from_nothing()
            x = min(x, m + CLIP * scale)  # noqa: PLW2901  the clip is the point
            stats[0].update(x)
            stats[1].update(x * x)
        self.panes += 1

    def own(self) -> tuple[list[float], list[float], float]:
        """Mean and variance as learned here, by channel, and the panes they weigh as much as."""
        correction = self._shares()[1]
        pairs = [self._own(channel, correction) for channel in range(WIDTH)]
        return [m for m, _ in pairs], [v for _, v in pairs], self._weight()

    def state(self) -> Moments:
        """Everything learned, as plain numbers."""
        seen = [(c, s[0].get(), s[1].get()) for c, s in enumerate(self._stats) if s is not None]
        return self.panes, [c for c, *_ in seen], [m for _, m, _ in seen], [q for *_, q in seen]

    def load(self, state: Moments) -> None:
        """Take up a `state()`; scores go on exactly where they were."""
        self.panes, channels, means, squares = state
        self._stats = [None] * WIDTH
        for channel, mean, square in zip(channels, means, squares, strict=True):
            self._stats[channel] = _from_nothing(mean, square)

    def _weight(self) -> float:
        return (1.0 - (1.0 - ALPHA) ** self.panes) / ALPHA

    def _shares(self) -> tuple[float, float]:
        """How much the peers weigh, and by what to multiply the sums so far."""
        weight = self._weight()
        return PRIOR / (PRIOR + weight), 1.0 / (ALPHA * weight) if weight else 0.0

    def _own(self, channel: int, correction: float) -> tuple[float, float]:
        """Mean and variance as learned here, corrected for a short history."""
        stats = self._stats[channel]
        if stats is None:
            return 0.0, 0.0
        mean = stats[0].get() * correction
        return mean, max(0.0, stats[1].get() * correction - mean * mean)


def _from_nothing(mean: float = 0.0, square: float = 0.0) -> tuple[EWMean, EWMean]:
    """A fresh `EWMean` takes its first value whole: starting at 0 makes it a plain weighted sum, so a channel that is
    first seen late is what it would be had it been fed zeros until then, and one update restores it.
    """
    stats = EWMean(ALPHA), EWMean(ALPHA)
    stats[0].update(mean)
    stats[1].update(square)
    return stats
