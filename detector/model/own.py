"""`Own`: a rule's own River detector in the model's place, one for each peer group. Pure; imports River when used.

- A detector gets log(1 + value) of the model's channels as a dict, pane by pane, roles in the order of their keys; it
  scores first and learns after.
- Its scores mean nothing by themselves. What counts is how far one lies above its group's median of the day before,
  in thirds of the way to their highest hundredth: that is one channel, and tails, alert line and cooldown are made of
  it as of any other. A score of exactly 0 says nothing (HalfSpaceTrees until its window is full).
- It cannot be kept in a checkpoint without unpickling, which nothing here ever does: for replay only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detector.core.river import Step, build
from detector.core.window import F64
from detector.model.score import NAMES, WIDTH
from detector.model.tail import CALM

MOST = 50.0
"""Scales that say all there is to say."""
HIGH = 0.99
LEAST = 1e-9
"""The smallest scale: of a group whose scores were all the same."""
AT = 0
"""The column of z that holds it."""


@dataclass(slots=True)
class _Group:
    detector: Any
    usual: float = 0.0
    scale: float = 0.0
    day: list[float] = field(default_factory=list)

    def score(self, x: dict[str, float]) -> float:
        score = float(self.detector.score_one(x))
        return score if math.isfinite(score) else 0.0


class Own:
    """The detectors of all peer groups."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self._groups: dict[str, _Group] = {}

    def scales(self, groups: Sequence[str], x: F64, *, today: bool = False) -> F64:
        """Z as of (roles, channels), all of it in column `AT`. groups: of each role; today: note the scores."""
        out = np.zeros((len(x), WIDTH))
        for at, (name, row) in enumerate(zip(groups, x.tolist(), strict=True)):
            group = self._group(name)
            score = group.score(dict(zip(NAMES, row, strict=True)))
            if today and score:
                group.day.append(score)
            if score and group.scale:
                out[at, AT] = min(MOST, max(0.0, (score - group.usual) / group.scale))
        return out

    def learn(self, groups: Sequence[str], x: F64) -> None:
        """Show these panes to the detectors of their groups."""
        for name, row in zip(groups, x.tolist(), strict=True):
            self._group(name).detector.learn_one(dict(zip(NAMES, row, strict=True)))

    def midnight(self, *, frozen: bool) -> None:
        """A day is over: what its scores were is what is usual now."""
        for group in self._groups.values():
            if group.day and not frozen:
                group.usual, high = np.quantile(group.day, (0.5, HIGH)).tolist()
                group.scale = max(LEAST, (high - group.usual) / CALM)
            group.day = []

    def _group(self, name: str) -> _Group:
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = _Group(build(self._steps))
        return found
