"""Keeps messages hidden from other readers while they are worked on.

Rules of this file
- A message in hand is hidden anew when a third of the queue's visibility timeout has passed since it last was: turns
  that are shorter cost no call, and two attempts may fail before it comes again.
- SQS hides a message for 12 hours in all, from when it was received. What takes longer comes again, and is recognised.
- It is a thread, because what takes long (a slow body, a checkpoint, a sink's retries) cannot be interrupted to do it.
  It ends with the process, whatever happens to the loop; `close` ends it before.

Source: SQS API reference, ChangeMessageVisibility.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from detector.errors import EdgeError, InputError

LONGEST = 12 * 3600
"""Seconds a message may be hidden, from when it was received."""
SHORTEST_LOOK = 0.05

_log = logging.getLogger(__name__)


class Visibility:
    """Messages in hand. extend: hides these anew for so many seconds, returns those that cannot be, raises EdgeError.

    timeout: the queue's visibility timeout in seconds; 0 (not known): nothing is done.
    """

    def __init__(
        self, extend: Callable[[Sequence[str], int], list[str]], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._extend, self._monotonic = extend, monotonic
        self.timeout = 0
        self._received: dict[str, float] = {}
        self._hidden: dict[str, float] = {}
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, id_: str) -> None:
        """A message was received just now."""
        if not self.timeout:
            return
        with self._lock:
            self._received[id_] = self._hidden[id_] = self._monotonic()
            if self._thread is None:
                self._closed.clear()
                self._thread = threading.Thread(target=self._run, name="visibility", daemon=True)
                self._thread.start()

    def let_go(self, ids: Iterable[str]) -> None:
        """These are in hand no longer."""
        with self._lock:
            for id_ in ids:
                self._received.pop(id_, None)
                self._hidden.pop(id_, None)

    def close(self) -> list[str]:
        """Keep nothing hidden any more. The ids that were in hand. Safe to repeat."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None
        with self._lock:
            held = list(self._hidden)
            self._hidden.clear()
            self._received.clear()
        return held

    def look(self) -> None:
        """Hide anew what is due."""
        now = self._monotonic()
        with self._lock:
            over = [id_ for id_, at in self._received.items() if now - at > LONGEST - self.timeout]
            due = [id_ for id_, at in self._hidden.items() if now - at >= self.timeout / 3 and id_ not in over]
        if over:
            _log.warning("%d messages have been worked on for almost 12 hours and will come again", len(over))
            self.let_go(over)
        if not due:
            return
        try:
            self.let_go(self._extend(due, self.timeout))
        except (EdgeError, InputError) as error:
            _log.warning("%d messages are not kept hidden, which is tried again: %s", len(due), error)
            return
        with self._lock:
            self._hidden |= {id_: now for id_ in due if id_ in self._hidden}

    def _run(self) -> None:
        while not self._closed.wait(max(SHORTEST_LOOK, self.timeout / 12)):
            self.look()
