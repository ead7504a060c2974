"""Which roles have new records in panes that still fill, and when to look at them again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from detector.core.access import I64, U64
from detector.core.window import starts_of_runs
from detector.model.pieces import Round

GROWTH = 0.1
"""A role is looked at again when its records there have become so much more."""
Row = list[int]
"""Records, records when last looked at, second of the first and of the last."""
_DECODE = msgspec.msgpack.Decoder(list[tuple[int, Row]]).decode


class Waiting:
    """Role → its row. `name` heads the names of its pieces in a checkpoint."""

    def __init__(self, name: str) -> None:
        self._round = Round(name)
        self._rows: dict[int, Row] = {}
        self._changed: set[int] = set()
        self._grown: set[int] = set()

    def put(self, role: U64, second: I64) -> None:
        """Note these records, one of each role and second."""
        order = np.lexsort((second, role))
        role, second = role[order], second[order]
        first = starts_of_runs(role)
        counts = np.diff(np.append(first, len(role)))
        ends = zip(role[first].tolist(), counts.tolist(), second[first].tolist(), second[first + counts - 1].tolist(),
                   strict=True)  # fmt: skip
        for one, count, begin, end in ends:
            row = self._rows.setdefault(one, [0, 0, begin, end])
            row[0] += count
            row[2], row[3] = min(row[2], begin), max(row[3], end)
            self._changed.add(one)
            self._grown.add(one)

    def due(self) -> list[int]:
        """Roles to be looked at now; they count as looked at."""
        found = []
        for role in sorted(self._grown):
            row = self._rows[role]
            if row[0] > (1 + GROWTH) * row[1]:
                row[1] = row[0]
                found.append(role)
        self._changed.update(found)
        self._grown.clear()
        return found

    def span(self, roles: Sequence[int]) -> tuple[int, int]:
        """The first and the last second that one of these roles has records of."""
        rows = [self._rows[role] for role in roles]
        return min(row[2] for row in rows), max(row[3] for row in rows)

    def drop_before(self, second: int) -> None:
        """Let go of roles that have no record from this second on: their panes are sealed."""
        self._rows = {role: row for role, row in self._rows.items() if row[3] >= second}
        self._changed &= self._rows.keys()
        self._grown &= self._rows.keys()

    def names(self) -> set[str]:
        """Names of its pieces in the checkpoint."""
        return self._round.names()

    def changes(self) -> dict[str, bytes | None]:
        """The piece that came and the one that went, if anything changed since the last call."""
        if not self._changed:
            return {}
        wanted = sorted(self._changed | self._round.due(self._rows))
        self._changed = set()
        return self._round.put(msgspec.msgpack.encode([(role, self._rows[role]) for role in wanted]))

    def restore(self, parts: Mapping[str, bytes], sealed: int, before: Sequence[tuple[int, Row]] = ()) -> None:
        """Take in the pieces of a checkpoint made when this second was sealed. before: rows of an older program."""
        self._rows = {role: list(row) for role, row in before}
        for piece in self._round.restore(parts):
            self._rows.update(_DECODE(piece))
        self.drop_before(sealed)
        self._changed = {role for role, _ in before if role in self._rows}
        self._grown = set(self._rows)
