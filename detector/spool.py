"""What is still to be journalled, published and carried out, as parts of a checkpoint. Pure.

Rules of this file
- Entries lie in pages, in the order they were made. A checkpoint writes the pages that changed and deletes those that
  are done with: what it costs depends on what happened since the last one, not on how much waits.
- What waits for a sink only, and is in a checkpoint, may leave memory; it is read from there when its turn comes. So a
  sink may be down for days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from detector.core.part import Shelf
from detector.core.times import epoch
from detector.errors import StateError

PAGE = 64
"""Entries of a page, at most."""
ROOM = 32 << 20
"""Bytes of pages in memory, about; what is more waits in the checkpoint."""
PARTS = "outbox/"


@dataclass(slots=True)
class Entry:
    """One numbered thing to do after the checkpoint: always a journal entry; perhaps an alert, perhaps a response.

    `sinks`: names of sinks that have not got the alert yet. `plan`: a revocation still to be applied. `before`: what
    was there, read before it is applied. `page`: where it lies in the spool.
    """

    seq: int
    time: str
    kind: str
    body: dict[str, Any]
    journalled: bool = False
    alert: dict[str, Any] | None = None
    sinks: list[str] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    page: int = 0
    before: dict[str, Any] | None = None

    @property
    def alert_id(self) -> str:
        """Of an entry about a finding; empty for others."""
        return str(self.body.get("alert_id", ""))

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.journalled and not self.sinks and self.plan is None


@dataclass(slots=True)
class _Page:
    """entries: None while they are in the checkpoint only. length: of the part. waiting: alerts, by sink."""

    entries: list[Entry] | None
    length: int = 0
    changed: bool = True
    waiting: dict[str, int] = field(default_factory=dict)
    oldest: int = 0

    def look(self) -> None:
        """Count what waits."""
        self.waiting = {}
        for entry in self.entries or ():
            for name in entry.sinks:
                self.waiting[name] = self.waiting.get(name, 0) + 1
        self.oldest = min(_times(self.entries or ()), default=0)

    def may_leave(self) -> bool:
        """Whether all of it only waits for sinks, and is in the checkpoint."""
        return not self.changed and all(e.journalled and e.plan is None for e in self.entries or ())


class Spool:
    """Entries in order. `room`: see ROOM."""

    def __init__(self, shelf: Shelf, room: int = ROOM) -> None:
        self._shelf, self._room = shelf, room
        self._pages: dict[int, _Page] = {}
        self._gone: set[int] = set()
        self._next = 1

    def __len__(self) -> int:
        return sum(1 for _ in self) + self._away()

    def __iter__(self) -> Iterator[Entry]:
        """What is in memory: everything of which more is to be done than to wait for sinks."""
        for page in list(self._pages.values()):
            yield from page.entries or ()

    def add(self, entry: Entry) -> None:
        """Put in a new entry."""
        last = self._pages.get(self._next - 1)
        if last is None or last.entries is None or len(last.entries) >= PAGE:
            last = self._pages[self._next] = _Page([])
            self._next += 1
        assert last.entries is not None  # noqa: S101  just looked
        entry.page = self._next - 1
        last.entries.append(entry)
        last.changed = True

    def touch(self, entry: Entry) -> None:
        """An entry was changed."""
        self._pages[entry.page].changed = True

    def waiting_for(self, sink: str) -> Iterator[Entry]:
        """Entries whose alert this sink has not got, oldest first."""
        for number, page in list(self._pages.items()):
            if page.entries is None and sink in page.waiting:
                page.entries = self._fetched(number, page)
            for entry in list(page.entries or ()):
                if sink in entry.sinks:
                    yield entry

    def waiting(self) -> int:
        """Alerts that not every sink has (a page that left memory: as many as the sink with the most)."""
        there = sum(1 for entry in self if entry.sinks)
        return there + self._away()

    def _away(self) -> int:
        return sum(max(p.waiting.values()) for p in list(self._pages.values()) if p.entries is None)

    def oldest(self) -> int | None:
        """Epoch second of the oldest entry that waits for a sink."""
        for page in list(self._pages.values()):
            times = [page.oldest] if page.entries is None else _times(page.entries)
            if times:
                return min(times)
        return None

    def sweep(self) -> None:
        """Let go of entries that are done."""
        for number, page in list(self._pages.items()):
            if page.entries is None:
                continue
            left = [entry for entry in page.entries if not entry.done]
            page.changed |= len(left) < len(page.entries)
            page.entries = left
            if not left:
                del self._pages[number]
                self._gone.add(number)

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        out: dict[str, bytes | None] = dict.fromkeys(map(_name, self._gone))
        self._gone = set()
        for number, page in self._pages.items():
            if page.changed and page.entries is not None:
                content = msgspec.msgpack.encode(page.entries)
                page.length, page.changed = len(content), False
                out[_name(number)] = content
        return out

    def let_go(self) -> None:
        """Right after a checkpoint: what is too much for memory and can be spared leaves it, the newest first."""
        held = 0
        for page in self._pages.values():
            held += page.length if page.entries is not None else 0
            if held > self._room and page.entries is not None and page.may_leave():
                self._leave(page)
                held -= page.length

    def restore(self, parts: Mapping[str, bytes], mend: Callable[[Entry], bool] = lambda _: False) -> None:
        """Take in the parts of a checkpoint. mend: looks at every entry; whether it changed it. Raises StateError."""
        held = 0
        for name in sorted(name for name in parts if name.startswith(PARTS)):
            number, content = int(name[len(PARTS) :], 16), parts[name]
            page = _Page(_decoded(content), len(content), changed=False)
            self._pages[number], self._next = page, max(self._next, number + 1)
            for entry in page.entries or ():
                entry.page = number
                page.changed |= mend(entry)
            held += page.length
            if held > self._room and page.may_leave():
                self._leave(page)
                held -= page.length

    @staticmethod
    def _leave(page: _Page) -> None:
        page.look()
        page.entries = None

    def _fetched(self, number: int, page: _Page) -> list[Entry]:
        return _decoded(self._shelf.get(_name(number), 0, page.length))


def _times(entries: Iterable[Entry]) -> list[int]:
    return [epoch(entry.time) or 0 for entry in entries if entry.sinks]


def _name(number: int) -> str:
    return f"{PARTS}{number:010x}"


def _decoded(content: bytes) -> list[Entry]:
    try:
        return msgspec.msgpack.decode(content, type=list[Entry])
    except msgspec.MsgspecError as error:
        raise StateError("the checkpoint's outbox cannot be read", remedy="run the version that wrote it") from error
