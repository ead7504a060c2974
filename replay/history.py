"""What history says of each principal: the most distinct objects it read in five minutes of each day.

Panes of five minutes are aligned to the clock: a burst across two of them counts as its larger part, which the margin
of what is proposed from it covers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from detector.core.access import I64, U64
from detector.core.groupings import IDENTITY, SHOWN
from detector.core.peers import peer_group
from detector.core.principal import Principal
from detector.core.rule import Where
from detector.core.select import Selector
from detector.core.view import BatchView
from replay.files import find
from replay.reader import Progress, batches, followed, records

PANE, DAY = 300, 86_400
LEVELS = ("session", "role")
HELD = 4_000_000
"""Rows of (principal, pane, object) that are held before copies among them are let go."""
COLUMNS = frozenset({"bucket", "key", "role"})

Peaks = dict[str, dict[int, int]]
"""Principal → day (epoch days) → the most objects in five minutes of that day."""


@dataclass(frozen=True, slots=True)
class History:
    """What was read. peaks: by level. peers: role → its peer group. buckets: reads of each."""

    peaks: dict[str, Peaks]
    peers: dict[str, str]
    buckets: Counter[str]
    services: frozenset[str]
    events: int
    first: int
    last: int

    @property
    def days(self) -> int:
        """Days that were seen, begun ones too."""
        return self.last // DAY - self.first // DAY + 1 if self.events else 0


class _Panes:
    """Distinct objects of each principal and pane."""

    def __init__(self, key: Callable[[Principal], str], shown: Callable[[Principal], str]) -> None:
        self._key, self._shown = key, shown
        self._codes: dict[str, int] = {}
        self._names: list[str] = []
        self._runs: list[tuple[I64, U64]] = []
        self._held = 0

    def take(self, view: BatchView, rows: I64) -> None:
        """Count the rows of a batch."""
        codes = np.array([self._code(p) for p in view.batch.principals] or [0], np.int64)
        where = codes[view.batch.who[rows]] << 32 | view.time[rows] // PANE
        self._runs.append((where, view.items("objects")[rows]))
        self._held += len(rows)
        if self._held > HELD:
            self._runs = [self._distinct()]
            self._held = len(self._runs[0][0]) // 2

    def peaks(self) -> Peaks:
        """The day's largest pane of each principal."""
        found: Peaks = {}
        if not self._runs:
            return found
        where, counts = np.unique(self._distinct()[0], return_counts=True)
        for at, count in zip(where.tolist(), counts.tolist(), strict=True):
            days = found.setdefault(self._names[at >> 32], {})
            day = (at & 0xFFFFFFFF) * PANE // DAY
            days[day] = max(days.get(day, 0), count)
        return found

    def _code(self, who: Principal) -> int:
        key = self._key(who)
        if key not in self._codes:
            self._codes[key] = len(self._names)
            self._names.append(self._shown(who))
        else:
            code = self._codes[key]
            self._names[code] = min(self._names[code], self._shown(who))
        return self._codes[key]

    def _distinct(self) -> tuple[I64, U64]:
        where, items = (np.concatenate(columns) for columns in zip(*self._runs, strict=True))
        order = np.lexsort((items, where))
        where, items = where[order], items[order]
        first = np.ones(len(where), np.bool_)
        first[1:] = (where[1:] != where[:-1]) | (items[1:] != items[:-1])
        return where[first], items[first]


def history(paths: Sequence[str], progress: Progress = lambda *_: None) -> History:
    """Read the logs under these paths. Raises InputError for what the user should mend."""
    files = find(paths)
    panes = {level: _Panes(IDENTITY[level], SHOWN[level]) for level in LEVELS}
    chosen = Selector(Where(operation=("read",)))
    peers: dict[str, str] = {}
    services: set[str] = set()
    buckets: Counter[str] = Counter()
    first, last, events = 1 << 62, 0, 0
    read = batches(files, partial(records, columns=COLUMNS))
    for batch, _ in followed(read, files, progress, "reading"):
        view = BatchView(batch)
        rows = np.flatnonzero(chosen.mask(batch) & (batch.who >= 0))
        if not len(rows):
            continue
        first, last = min(first, int(batch.time[rows].min())), max(last, int(batch.time[rows].max()))
        events += len(rows)
        for one in panes.values():
            one.take(view, rows)
        column = batch.text["bucket"]
        codes, counts = np.unique(column.codes[rows], return_counts=True)
        buckets.update({column.values[c]: n for c, n in zip(codes.tolist(), counts.tolist(), strict=True) if c >= 0})
        for who in batch.principals:
            peers[who.role_shown] = peer_group(who)
            if who.type == "AWSService" or who.invoked_by:
                services.add(who.role_shown)
    peaks = {level: one.peaks() for level, one in panes.items()}
    return History(peaks, peers, buckets, frozenset(services), events, first if events else 0, last)
