"""How the daemon comes to its end in time: first it takes on nothing new, then it breaks off what waits for others.

Rules of this file
- Only calls across an edge that may be repeated are broken off (receive, fetch, send, respond, acknowledge): what came
  of them is unknown, so they count as not done, and are done again after the next start. A save never is.
- `Hurry` is no `Exception`: libraries that try again after errors must not swallow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Hurry(BaseException):
    """The daemon was told to end and its time is up: this call is broken off."""


class Drain:
    """`asked`: the daemon is to end; nothing new is begun. `over`: the time for it is up; nothing is waited for."""

    def __init__(self) -> None:
        self.asked = self.over = False
        self._inside = False

    def ask(self) -> None:
        """The daemon is to end. Safe in a signal handler."""
        self.asked = True

    def end(self) -> None:
        """The time is up. Safe in a signal handler of the thread that calls the edges: raises Hurry out of a call."""
        self.asked = self.over = True
        if self._inside:
            raise Hurry

    @contextmanager
    def edge(self) -> Iterator[None]:
        """Around a call that may be broken off. Raises Hurry."""
        self._inside = True
        try:
            if self.over:
                raise Hurry
            yield
        finally:
            self._inside = False
