"""Which log files were read lately, so that an order can name those that a finding rests on. Pure.

Only where another process carries plans out. Names lie in slots of five minutes of the clock: a checkpoint writes the
slot that changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

SLOT = 300
KEPT = 72
"""Slots: six hours; `response.max_age` is far less."""
MOST = 20_000
"""Names of a slot: what is more is not named, and such an order is left to people."""
PARTS = "reading/"


class Reading:
    """Names by slot."""

    def __init__(self) -> None:
        self._slots: dict[int, list[str]] = {}
        self._changed: set[int] = set()

    def note(self, names: Iterable[str], now: int) -> None:
        """These were read now (epoch seconds)."""
        new = list(names)
        if not new:
            return
        slot = now // SLOT
        held = self._slots.setdefault(slot, [])
        held += new[: MOST - len(held)]
        self._changed.add(slot)
        for old in [one for one in self._slots if one <= slot - KEPT]:
            del self._slots[old]
            self._changed.add(old)

    def since(self, second: int) -> list[str]:
        """What was read since an epoch second, and a little before: a log file comes after what it tells of."""
        slots = sorted(slot for slot in self._slots if slot >= second // SLOT)
        return list(dict.fromkeys(name for slot in slots for name in self._slots[slot]))

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came, changed or went."""
        parts = {
            f"{PARTS}{slot}": msgspec.msgpack.encode(self._slots[slot]) if slot in self._slots else None
            for slot in self._changed
        }
        self._changed = set()
        return parts

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint."""
        for name in (name for name in parts if name.startswith(PARTS)):
            self._slots[int(name.removeprefix(PARTS))] = msgspec.msgpack.decode(parts[name], type=list[str])
