"""Kind `match`: one record suffices. Pure."""

from __future__ import annotations

from typing import Literal

from detector.core.kinds.windowed import Window, Windowed


class Match(Windowed):
    """Fires on one record. `window`: records of a group at most so far apart are one finding."""

    kind: Literal["match"]
    measure: Literal["requests"] = "requests"
    window: Window = 3600
    threshold: Literal[1] = 1

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"any such record, by {', '.join(self.group_by)}"
