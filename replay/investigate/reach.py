"""Which records an investigation reaches, and why: identities, addresses and credentials, each with its time. Pure.

Rules of this file
- A way to a record is a text in one of its columns, from a first to a last second. Of several the strongest counts.
- A text is looked at once for each distinct value of a piece, never once a row.
- `keyless`: only records that name no access key. Credentials are told apart by their keys where the log has them; an
  access log has none, and there a session's name and its time must do.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np

from detector.core.access import I8, Column
from detector.core.addresses import Networks
from detector.core.watermark import FOREVER, NEVER
from replay.columns import Piece


class Why(IntEnum):
    """Why a record is reached, the weakest reason first; `none`: it is not."""

    none = 0
    copy = 1
    same_source = 2
    caller = 3
    chain = 4
    who = 5


SAID = {
    Why.who: "whom the question is about",
    Why.chain: "a session that a followed one began",
    Why.caller: "who began a followed session, from the same address",
    Why.same_source: "others at an address that hardly anybody else used then",
    Why.copy: "readers of copies that followed sessions made",
}
"""What each reason means, for people."""

Span = tuple[int, int, Why]
"""From, until (both included, epoch seconds), why."""
_NOWHERE: Span = (FOREVER, NEVER, Why.none)


class Reach:
    """Ways to records. since, until: records outside (`since <= time < until`) are reached by none."""

    def __init__(self, since: int | None = None, until: int | None = None) -> None:
        self._first = NEVER if since is None else since
        self._last = FOREVER if until is None else until - 1
        self._texts: dict[tuple[str, bool], dict[str, Span]] = {}
        self._networks: list[tuple[Networks, Span]] = []

    def add(
        self,
        column: str,
        texts: Iterable[str],
        why: Why,
        first: int = NEVER,
        last: int = FOREVER,
        *,
        keyless: bool = False,
    ) -> None:
        """Reach the records that hold one of these texts; of a text reached before, the time between, too."""
        table = self._texts.setdefault((column, keyless), {})
        for text in texts:
            before = table.get(text, _NOWHERE)
            table[text] = (min(first, before[0]), max(last, before[1]), max(why, before[2]))

    def add_networks(self, networks: Networks, why: Why, first: int = NEVER, last: int = FOREVER) -> None:
        """Reach the records that came from there."""
        self._networks.append((networks, (first, last, why)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it looks at."""
        keyless = {"access_key"} if any(only for _, only in self._texts) else set()
        return tuple(
            sorted({"time", *(name for name, _ in self._texts), *(["source_ip"] * bool(self._networks)), *keyless})
        )

    def why(self, piece: Piece, *, whole: bool = False) -> I8:
        """Why each row of a piece is reached; 0 where it is not.

        A row that stands for several records is reached if any of them may be; whole: only if all are.
        """
        out = np.zeros(len(piece), np.int8)
        for (name, keyless), table in self._texts.items():
            if not piece.holds(name, table):
                continue
            column = piece.text(name)
            spans = {code: table[text] for code, text in enumerate(column.values) if text in table}
            self._mark(out, piece, column, spans, keyless=keyless, whole=whole)
        for networks, span in self._networks:
            column = piece.text("source_ip")
            spans = {code: span for code, text in enumerate(column.values) if text in networks}
            self._mark(out, piece, column, spans, keyless=False, whole=whole)
        return out

    def _mark(
        self, out: I8, piece: Piece, column: Column, spans: dict[int, Span], *, keyless: bool, whole: bool
    ) -> None:
        """Mark the rows whose code in a column has a span that their time is in; with `whole` all of their time."""
        if not spans:
            return
        first, last, known = np.zeros((3, len(column.values) + 1), np.int64)  # the last is null's
        for code, span in spans.items():
            first[code], last[code], known[code] = span
        rows = np.flatnonzero(known[column.codes])
        codes, (earliest, latest) = column.codes[rows], (times[rows] for times in piece.span())
        first, last = np.maximum(first[codes], self._first), np.minimum(last[codes], self._last)
        within = (earliest >= first) & (latest <= last) if whole else (latest >= first) & (earliest <= last)
        if keyless:
            within &= piece.text("access_key").codes[rows] < 0
        rows, codes = rows[within], codes[within]
        out[rows] = np.maximum(out[rows], known[codes].astype(np.int8))
