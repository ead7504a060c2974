"""The credentials seen lately, by fingerprint, and the name each identity is shown by. Pure.

Tallies hold fingerprints; this is where they become names again. Entries of which nothing was seen within the horizon
are let go. Kept in a checkpoint as a fixed number of parts, of which only the changed ones are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from detector.core.finding import shown
from detector.core.part import Spilling
from detector.core.principal import Principal
from detector.core.table import Table
from detector.core.view import IDENTITY, SHOWN, BatchView

PARTS = 64
HOUR = 3600


class People:
    """Fingerprint → principal, and (level, key) → the smallest ARN it was seen under."""

    def __init__(self) -> None:
        self._people: dict[int, tuple[Principal, int]] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._changed: set[int] = set()
        self._hours = Table()

    def meet(self, view: BatchView) -> None:
        """Take note of the credentials in a batch and of the hour they were seen last."""
        batch, rows = view.batch, np.flatnonzero(view.batch.who >= 0)
        code = batch.who[rows]
        last, prints = np.zeros(len(batch.principals), np.int64), np.zeros(len(batch.principals), np.uint64)
        np.maximum.at(last, code, batch.time[rows] // HOUR + 1)
        prints[code] = view.who()[rows]
        news = np.flatnonzero(last > self._hours.values_of(prints).astype(np.int64))
        for one in news.tolist():
            self._enter(int(prints[one]), batch.principals[one], int(last[one]) - 1)
        self._note_hours(prints[news].tolist())

    def of(self, prints: Iterable[int]) -> list[Principal]:
        """The principals behind these fingerprints."""
        return [self._people[p][0] for p in prints if p in self._people]

    def sessions(self) -> int:
        """Number of distinct sessions."""
        return sum(1 for level, _ in self._names if level == "session")

    def name(self, level: str, key: str) -> str:
        """What a person is shown of a group's key at a level."""
        return self._names.get((level, key), key)

    def forget_before(self, second: int) -> None:
        """Let go of credentials not seen since."""
        old = [who for who, (_, hour) in self._people.items() if hour < second // HOUR]
        for who in old:
            del self._people[who]
            self._changed.add(who % PARTS)
        if old:
            self._hours = Table()
            self._note_hours(self._people)
            self._names = {}
            for principal, _ in self._people.values():
                self._learn_names(principal)

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return []

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that changed since the last call."""
        parts: dict[int, list[tuple[int, Principal, int]]] = {number: [] for number in self._changed}
        for who, (principal, hour) in self._people.items():
            if who % PARTS in parts:
                parts[who % PARTS].append((who, principal, hour))
        self._changed = set()
        return {f"people/{number}": msgspec.msgpack.encode(entries) for number, entries in parts.items()}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        for name in (name for name in parts if name.startswith("people/")):
            for who, principal, hour in msgspec.msgpack.decode(parts[name], type=list[tuple[int, Principal, int]]):
                self._enter(who, principal, hour)
        self._note_hours(self._people)
        self._changed = set()

    def _enter(self, who: int, principal: Principal, hour: int) -> None:
        known = self._people.get(who)
        if known is None:
            self._learn_names(principal)
        elif known[1] >= hour:
            return
        self._people[who] = (principal, hour)
        self._changed.add(who % PARTS)

    def _note_hours(self, prints: Iterable[int]) -> None:
        """Bring the table up to date: print → the hour of its last sighting, and one, so that it is never 0."""
        hours = {who: self._people[who][1] + 1 for who in prints}
        slot, _ = self._hours.enter(np.fromiter(hours.keys(), np.uint64, len(hours)))
        self._hours.values[slot] = np.fromiter(hours.values(), np.uint64, len(hours))

    def _learn_names(self, principal: Principal) -> None:
        for level in ("session", "role"):
            key, name = (level, IDENTITY[level](principal)), SHOWN[level](principal)
            self._names[key] = shown((self._names[key], name)) if key in self._names else name
