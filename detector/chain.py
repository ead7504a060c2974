"""The chain of a journal's entries: how one is written, and what is wrong with many. Pure.

Rules of this file
- One JSON object a line: {"seq","time","kind","body","prev","hash"}. `hash` is SHA-256 over the canonical JSON of the
  other five, `prev` the hash of the line before; so an edit, a cut in the middle and a reordering show.
- A cut at the end, and a chain written anew from the start, do not show in the chain alone: compare with a hash, or
  with an alert's `sequence`, that was kept elsewhere.
- Everything beyond ASCII is escaped: names out of a log cannot break a line or a terminal.
- A number is given once. Whoever finds another entry under a number of theirs is not the only writer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from detector.errors import StateError
from detector.response.plain import printable

GENESIS = "0" * 64
SEALED = ("seq", "time", "kind", "body", "prev")
ENTRY = ("seq", "time", "kind", "body")
"""What the caller says; the chain adds the rest."""


class Head(NamedTuple):
    """Number and hash of a journal's last entry; (-1, zeros) if there is none."""

    seq: int
    hash: str


EMPTY = Head(-1, GENESIS)


class Journal(Protocol):
    """An append-only chain. Entries are {"seq","time","kind","body"}, numbered by the caller.

    `recovered`: what a crash had left of a last line, now cut; else None. `mark`: where the end was last seen; whoever
    keeps it and gives it back with `seek` spares the journal a search.
    """

    recovered: str | None

    @property
    def mark(self) -> int:
        """See the class."""

    @property
    def head(self) -> Head:
        """The last entry. Raises StateError."""

    def seek(self, mark: int) -> None:
        """Before the first use: begin to look for the end here."""

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries, with rising numbers, durable on return. Raises StateError.

        Those it has already are skipped, since a crash after an append repeats it; but if it has others under their
        numbers, somebody else writes it, and nothing is added.
        """

    def agrees(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Whether none of these numbers is another entry's. Raises StateError."""


def linked(entries: Iterable[Mapping[str, Any]], head: Head) -> Iterator[tuple[bytes, Head]]:
    """Each entry's line after this head, and the head it makes."""
    for entry in entries:
        sealed = {name: entry[name] for name in ENTRY} | {"prev": head.hash}
        sealed["hash"] = _seal(sealed)
        head = Head(entry["seq"], sealed["hash"])
        yield _written(sealed), head


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line as JSON; None if it is no object."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def head_of(entry: Mapping[str, Any] | None) -> Head | None:
    """The head that an entry found at the end makes; None if it is no entry."""
    if entry is None or not isinstance(entry.get("seq"), int) or not isinstance(entry.get("hash"), str):
        return None
    return Head(entry["seq"], entry["hash"])


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are one entry, wherever it stands in a chain."""
    return _canonical({name: one.get(name) for name in ENTRY}) == _canonical({name: other.get(name) for name in ENTRY})


def agree(wanted: Iterable[Mapping[str, Any]], there: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether `there`, entries by number, has each of these, and has it as it is."""
    return all(entry["seq"] in there and same(entry, there[entry["seq"]]) for entry in wanted)


def foreign(where: str, seq: int) -> StateError:
    """Somebody else writes this journal."""
    return StateError(
        f"entry {seq} of the journal is not the one this program wrote: somebody else writes it, too",
        where=printable(where),
        remedy="stop the other writer, or give each daemon a journal of its own, and start again: nothing is lost, the "
        "entries follow under new numbers",
    )


class Verdict(NamedTuple):
    """What looking through a journal gave. seen: whether the hash asked for is in it. notes: what was not done."""

    problems: list[str]
    head: Head
    seen: bool
    notes: tuple[str, ...] = ()


class Checking:
    """Lines looked at one by one, from the beginning. head: of the last one. seen: whether `wanted` was a hash."""

    def __init__(self, wanted: str = "") -> None:
        self.head = Head(0, GENESIS)
        self.begun = self.seen = False
        self._wanted = wanted

    def problems(self, line: bytes) -> Iterator[str]:
        """What is wrong with the next line."""
        entry = parsed(line)
        if entry is None or not line.endswith(b"\n"):
            yield "torn, or no entry of a journal"
            return
        # the line itself must be what we would write: a field given twice, or one that no hash covers, is an edit too
        if entry.get("hash") != _seal(entry) or _written({n: entry.get(n) for n in (*SEALED, "hash")}) != line:
            yield "was edited: its content does not have the hash it carries"
        if entry.get("prev") != self.head.hash:
            yield "does not follow the line before: entries were cut out, put in or reordered"
        seq, last = entry.get("seq"), self.head.seq
        if not isinstance(seq, int) or (seq != last + 1 if self.begun else seq not in (0, 1)):
            yield f"has number {seq!r} after {last if self.begun else None!r}: entries are missing or reordered"
        self.begun = True
        self.head = Head(seq if isinstance(seq, int) else last, str(entry.get("hash")))
        self.seen |= self.head.hash == self._wanted


def _seal(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical({name: entry.get(name) for name in SEALED})).hexdigest()


def _canonical(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode("ascii")


def _written(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
