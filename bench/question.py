"""The one question every peer is asked, and the form of its answer.

Which principals (sessions) reached `threshold` GetObject requests within `window` seconds, and at which second first?
Every request counts once, however often it was delivered. A window of `w` seconds that ends at second `t` holds the
requests with `t - w < time <= t`. Windows over one hour count whole minutes.

Starts fast and imports little: what it costs is added to every peer's figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import NamedTuple


class Question(NamedTuple):
    """`folder`: log files. `extra`: what only some peers understand."""

    folder: str
    window: int
    threshold: int
    extra: tuple[str, ...]

    @property
    def grain(self) -> int:
        """Seconds that requests are counted by."""
        return 60 if self.window > 3600 else 1


def asked() -> Question:
    """The question in this process's arguments: FOLDER WINDOW THRESHOLD …"""
    folder, window, threshold, *extra = sys.argv[1:]
    return Question(folder, int(window), int(threshold), tuple(extra))


def tell(answer: Iterable[tuple[str, int]]) -> None:
    """Print (principal, epoch second) pairs as JSON lines, sorted."""
    for principal, first in sorted(answer):
        sys.stdout.write(json.dumps({"principal": principal, "first": int(first)}) + "\n")
