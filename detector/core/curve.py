"""How the value of a rule went around an episode, in few points, for people to look at. Pure.

The value falls only as records leave the window, so that within a stretch of time it is largest at the stretch's
beginning or at one of its records: a curve of the largest values misses no peak and no crossing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detector.core.access import I64
from detector.core.window import F64

POINTS = 120
"""A curve has so many at most."""
SHORTEST = 60
"""Seconds before and after an episode that are shown at least, if the window is not shorter."""


class Curve(NamedTuple):
    """values: from second `begin` on the largest value of every `step` seconds."""

    begin: int
    step: int
    values: list[float]


def around(opened_at: int, last_at: int, window: int) -> tuple[int, int]:
    """First and last second of what is shown: a window before and after the episode, but little around a short one."""
    margin = min(window, max(SHORTEST, 2 * (last_at - opened_at)))
    return opened_at - margin, last_at + margin


def curve(seconds: I64, values_at: Callable[[I64], F64], first: int, last: int, grain: int) -> Curve:
    """The curve from `first` to `last`. seconds: those with records, sorted; grain: whole seconds that they come in."""
    begin = first // grain * grain
    step = -(-(last + 1 - begin) // (POINTS * grain)) * grain
    starts = np.arange(begin, last + 1, step)
    inside = seconds[(seconds >= begin) & (seconds <= last)]
    at = np.unique(np.concatenate([starts, inside]))
    largest = np.maximum.reduceat(values_at(at), np.searchsorted(at, starts))
    return Curve(begin, step, [int(v) if v.is_integer() else v for v in largest.tolist()])


def halved(curve: Curve) -> Curve:
    """The same in half as many points."""
    values = curve.values
    return Curve(curve.begin, 2 * curve.step, [max(values[at : at + 2]) for at in range(0, len(values), 2)])
