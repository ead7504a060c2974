"""The score of a pane: each family's best channel in decades of rarity, and of these the three best as one. Pure.

Also what `RoleDetector` and `Levels` share: the weights, and the shape of what a role has learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from detector.model.channels import CHANNELS, FAMILIES, FAMILY_OF, NEW_KEYS

ALPHA = 0.002
"""Weight of one active pane in a role's mean and variance: a memory of 500 active panes."""
CLIP = 4.0
"""Scales above the level that a pane can teach at most. A pane held at the clip multiplies the variance by about
1 + alpha (clip^2 - 1), 1.03, and so moves the clip itself: over an hour of theft 1.4-fold."""
PRIOR = 30.0
"""Panes of its own a role needs until its level weighs as much as its peers'."""
NOISE = 0.04
"""Variance nobody's steadiness goes below: a factor of 1.2 is never news, and a constant stream cannot explode."""
SHARES = (1.0, 0.7, 0.5)
"""What the best three families count in the score."""
STAKE = 0.5
"""What each decade of objects beyond the usual adds to the score: it ranks what is equally rare."""
LEAST_Z = 1.0
"""Scales below which a channel is ordinary."""
WIDTH = len(CHANNELS)
NAMES = tuple(channel.name for channel in CHANNELS)

Moments = tuple[int, list[int], list[float], list[float]]
"""Panes learned; and of the channels that were ever seen: number, weighted sum of x and of x squared."""


class Level(NamedTuple):
    """What is usual for a group of roles, by channel: mean and variance of x."""

    mean: Sequence[float]
    variance: Sequence[float]


class Rarity(Protocol):
    """How rare a z is."""

    def decades(self, channel: int, z: float) -> float:
        """-log10 of the share of principal-days with at least this z in this channel; 0 where it is not looked at."""


class Judged(NamedTuple):
    """A pane's score, and what it is made of, by family: decades and the channel that has them (-1: none)."""

    score: float
    decades: tuple[float, ...]
    channels: tuple[int, ...]
    stake: float


def judge(values: Sequence[float], scales: Sequence[float], usual: Sequence[float], rarity: Rarity) -> Judged:
    """The score of a pane. values, usual: logs by channel; scales: z by channel."""
    best, at = [0.0] * len(FAMILIES), [-1] * len(FAMILIES)
    for channel, z in enumerate(scales):
        if z >= LEAST_Z:
            decades, family = rarity.decades(channel, z), FAMILY_OF[channel]
            if decades > best[family]:
                best[family], at[family] = decades, channel
    score = sum(share * decades for share, decades in zip(SHARES, sorted(best, reverse=True), strict=False))
    if not score:
        return Judged(0.0, tuple(best), tuple(at), 0.0)
    excess = max(math.expm1(values[c]) - math.expm1(usual[c]) for c in NEW_KEYS)
    stake = STAKE * math.log10(1.0 + max(0.0, excess))
    return Judged(score + stake, tuple(best), tuple(at), stake)
