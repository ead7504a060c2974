"""Kind `threshold`: at or above a number, in a sliding window. Pure."""

from __future__ import annotations

from typing import Literal

from detector.core.fields import Measure
from detector.core.kinds.windowed import Windowed


class Threshold(Windowed):
    """Fires when a group's measure over a sliding window is at or above the threshold."""

    kind: Literal["threshold"]
    measure: Measure
    """what is counted"""
