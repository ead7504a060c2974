"""Watches one decoy rule: a threshold of one object over the records that take a decoy. Pure.

A decoy counts from when the rule knows it: what was read before it was planted was no decoy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.core.episode import Tracked
from detector.core.rule import DecoyRule
from detector.core.threshold import CountingWatch
from detector.core.times import iso


class DecoyWatch(CountingWatch[DecoyRule]):
    """State of one decoy rule."""

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """As for a threshold, in words of its own."""
        episode = tracked.episode
        count = int(episode.peak_value)
        who = ", ".join(f"{level} {name}" for level, name in shown.items())
        what = "1 decoy was" if count == 1 else f"{count:,} decoys were"
        told = (
            f"{who}: {what} read, copied or restored, or it was tried: objects that nobody has reason to take, "
            f"from {iso(episode.opened_at)} to {iso(episode.last_at)}."
        )
        return super().explain(group, shown, tracked) | {"explanation": told}
