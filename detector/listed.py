"""What a source that lists its files has handed out: in hand, done with, or still to come. Pure: the clock is told.

Rules of this file
- What was handed out is not handed out again for `HELD_SECONDS` (SQS's visibility timeout); what was acknowledged,
  never.
- Order says nothing: a file that turns up before those already read is as new as any. So every file is known by itself
  as long as it is listed; what is listed no more is forgotten.
- What another source has read says nothing of this one: whoever moves from a directory to a bucket keeps the state, and
  records that were counted are recognised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from detector.errors import StateError
from detector.source import Message

DIRECTORY = "directory"
"""Files of a directory are known by their path below it: it may lie elsewhere tomorrow."""
POLL = 64
"""Files one poll delivers at most."""
HELD_SECONDS = 300.0
LOOK_EVERY = 0.2
T = TypeVar("T")


class Listed:
    """Identities of messages, as the source makes them. of: whose, as long as they are identities of the same files."""

    def __init__(self, of: str) -> None:
        self._of = of
        self._done: set[str] = set()
        self._held: dict[str, tuple[Message, float]] = {}

    @property
    def in_hand(self) -> list[Message]:
        """What was handed out and never acknowledged, and may be there still."""
        return [message for message, _ in self._held.values()]

    def waiting(self, there: Mapping[str, Message], now: float) -> list[Message]:
        """Of the files there are, those neither read nor in hand, in their order."""
        self._done &= there.keys()
        self._held = {
            identity: (message, at) for identity, (message, at) in self._held.items() if identity in there and at > now
        }
        return [m for identity, m in there.items() if identity not in self._done and identity not in self._held]

    def hand_out(self, messages: Iterable[Message], now: float) -> None:
        """These are worked on."""
        self._held |= {message.id: (message, now + HELD_SECONDS) for message in messages}

    def acknowledge(self, messages: Sequence[Message]) -> list[str]:
        """Never hand these out again. All succeed: nothing is written before the checkpoint takes `known`."""
        for message in messages:
            self._done.add(message.id)
            self._held.pop(message.id, None)
        return []

    def positions(self, done: Sequence[Message], **beside: int | None) -> bytes:
        """What has been read, these included, and what the source knows beside that, for the checkpoint."""
        known = sorted({*self._done, *(message.id for message in done)})
        return json.dumps({"of": self._of, "done": known, **beside}, separators=(",", ":")).encode("ascii")

    def restore(self, positions: bytes) -> dict[str, Any]:
        """Take up what `positions` wrote; gives it, or nothing if another source did. Raises StateError."""
        if not positions:  # a queue's
            return {}
        found = _read(positions)
        if isinstance(found, list):  # as directories wrote them once
            found = {"of": DIRECTORY, "done": found}
        if not isinstance(found, dict) or not isinstance(found.get("of"), str):
            raise damaged()
        if found["of"] != self._of:
            return {}
        known = found.get("done")
        if not isinstance(known, list) or not all(isinstance(identity, str) for identity in known):
            raise damaged()
        self._done.update(known)
        return found


def until_there(
    look: Callable[[], T], wait_seconds: float, monotonic: Callable[[], float], sleep: Callable[[float], None]
) -> T:
    """Look until there is something, or until so many seconds are over: the last answer."""
    until = monotonic() + wait_seconds
    while not (there := look()) and (left := until - monotonic()) > 0:
        sleep(min(LOOK_EVERY, left))
    return there


def _read(positions: bytes) -> Any:
    try:
        return json.loads(positions)
    except (ValueError, RecursionError) as error:
        raise damaged() from error


def damaged() -> StateError:
    """Positions that are none."""
    return StateError(
        "the list of files already read is damaged",
        where="checkpoint: positions",
        remedy="delete the state file: the files are read again and records already counted are recognised",
    )
