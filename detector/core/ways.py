"""Who else came the same way: sessions by network, and sessions by the session that began them. Pure.

What is seen of both is kept as hashes, hour by hour, and forgotten like everything else of the stream; what memory has
no room for lies on the shelf. The names of sessions that began others are kept, to be told.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detector.core.access import I64, U64, AccessBatch, Index, Operation, Outcome, Skip, text_hash, text_hashes
from detector.core.links import HOUR, Question, network
from detector.core.part import Spilling
from detector.core.sighting import Sightings, Texts
from detector.core.table import SPREAD

BEGAN = "began_arn"
"""The column that `Chains` looks at."""
REMEMBERED = 1 << 18
"""Credentials of which the session's hash is remembered, at most."""
MOST_CALLERS = 64
"""Sessions above one that are named, at most."""


class Chains:
    """Which session began which.

    Of what a session began every hour is kept: what is tied to it is hashed with the hour.
    """

    def __init__(self) -> None:
        self._above, self._below = Sightings("chain-above"), Sightings("chain-below")
        self._names = Texts("chain-names")

    def meet(self, batch: AccessBatch) -> None:
        """Take note of the sessions that were begun in these records; of copies any number."""
        rows = beginning(batch)
        if not len(rows):
            return
        began = batch.text[BEGAN]
        callers, hour = sessions(batch, rows), batch.time[rows] // HOUR
        begun = began.hashes()[rows]
        other = callers != begun
        self._above.add(begun[other], callers[other], hour[other])
        self._below.add(callers[other], begun[other] + hour[other].astype(np.uint64) * SPREAD, hour[other])
        distinct, first, which = np.unique(callers, return_index=True, return_inverse=True)
        last = np.zeros(len(distinct), np.int64)
        np.maximum.at(last, which, hour)
        who = batch.who[rows[first]]
        self._names.put(
            distinct, last, lambda new: [batch.principals[code].session_shown.encode() for code in who[new]]
        )

    def callers(self, session: str) -> list[str]:
        """Sessions that began one, those that began them, and so on, as they are shown."""
        above: dict[int, None] = {}
        waiting = [text_hash(session)]
        while waiting and len(above) < MOST_CALLERS:
            new = _ties(self._above, waiting.pop()) - {*above, text_hash(session)}
            above |= dict.fromkeys(sorted(new))
            waiting += sorted(new)
        names = self._names.of(np.fromiter(above, np.uint64, len(above)))
        return sorted(name.decode("utf-8", "replace") for name in names.values())

    def came(self, question: Question) -> frozenset[int]:
        """The sessions that a session began about then."""
        first, last = question.first // HOUR, question.last // HOUR
        found: set[int] = set()
        for _, tie, hour, *_ in self._below.rows(text_hash(question.key.what)):
            then = (hour >= first) & (hour <= last)
            found.update((tie[then] - hour[then].astype(np.uint64) * SPREAD).tolist())
        return frozenset(found)

    def spilling(self) -> list[Spilling]:
        """What may leave memory."""
        return [self._above, self._below, self._names]

    def forget_before(self, second: int) -> None:
        """Let go of sessions begun before."""
        for one in (self._above, self._below, self._names):
            one.forget_before(second // HOUR)

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return {name: part for one in self.spilling() for name, part in one.changes().items()}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint."""
        for one in (self._above, self._below, self._names):
            one.restore(parts)


class Crowd:
    """Which sessions came from which network, and in which hour last."""

    def __init__(self) -> None:
        self._seen = Sightings("crowd")
        self._hashes: dict[int, int] = {}

    def meet(self, batch: AccessBatch) -> None:
        """Take note of where these access events came from."""
        rows, nets = networks(batch)
        who = batch.who[rows].astype(np.int64)
        pairs = batch.text["source_ip"].codes[rows] * np.int64(len(batch.principals) + 1) + who
        _, first, which = np.unique(pairs, return_index=True, return_inverse=True)
        last = np.zeros(len(first), np.int64)
        np.maximum.at(last, which, batch.time[rows] // HOUR)
        self._seen.add(nets[first], self._sessions(batch, who[first]), last)

    def _sessions(self, batch: AccessBatch, codes: I64) -> U64:
        """The hash of the session of each of these principals, of which most are met again and again."""
        if len(self._hashes) > REMEMBERED:
            self._hashes = {}
        prints = batch.prints[codes].tolist()
        for one, code in dict(zip(prints, codes.tolist(), strict=True)).items():
            if one not in self._hashes:
                self._hashes[one] = text_hash(batch.principals[code].session_shown)
        return np.array([self._hashes[one] for one in prints], np.uint64)

    def came(self, question: Question) -> frozenset[int]:
        """The sessions that came from a network since about then."""
        return frozenset(_ties(self._seen, text_hash(question.key.what), question.first // HOUR))

    def spilling(self) -> list[Spilling]:
        """What may leave memory."""
        return [self._seen]

    def forget_before(self, second: int) -> None:
        """Let go of who was not seen since."""
        self._seen.forget_before(second // HOUR)

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return self._seen.changes()

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint."""
        self._seen.restore(parts)


def beginning(batch: AccessBatch) -> Index:
    """The rows in which a session was begun: all that `Chains` looks at."""
    fits = (batch.operation == Operation.assume) & (batch.outcome == Outcome.success) & (batch.skip == Skip.no)
    return np.flatnonzero(fits & (batch.text[BEGAN].codes >= 0) & (batch.who >= 0))


def networks(batch: AccessBatch) -> tuple[Index, U64]:
    """The rows that came from a public network, and the hash of it."""
    column = batch.text["source_ip"]
    names = [*map(network, column.values), ""]
    hashes = np.where(np.array([name == "" for name in names]), np.uint64(0), text_hashes(names))
    of_row = hashes[column.codes]
    rows = np.flatnonzero((of_row != 0) & (batch.who >= 0) & (batch.skip == Skip.no))
    return rows, of_row[rows]


def sessions(batch: AccessBatch, rows: Index) -> U64:
    """The hash of the session of each of these rows, as it is shown."""
    codes, which = np.unique(batch.who[rows], return_inverse=True)
    return text_hashes([batch.principals[code].session_shown for code in codes.tolist()])[which]


def _ties(seen: Sightings, key: int, first: int = 0) -> set[int]:
    """What is tied to a key, since this hour."""
    return {one for _, tie, hour, *_ in seen.rows(key) for one in tie[hour >= first].tolist()}
