"""Kind `match`: one record suffices. Pure."""

from __future__ import annotations

from typing import Literal

from detector.core.kinds.windowed import Window, Windowed


class Match(Windowed):
    """Fires on one record. `window`: records of a group at most so far apart are one finding."""

    kind: Literal["match"]
    measure: Literal["requests"] = "requests"
    """what is counted"""
    window: Window = 3600
    """a duration, 10s to 30d; over one hour, whole minutes"""
    threshold: Literal[1] = 1
    """fires at or above it; for distinct measures at most 100,000"""

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"any such record, by {', '.join(self.group_by)}"
