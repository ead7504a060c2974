"""Thefts that history is known to hold: who, from when, how long. A rule that does not find them is no rule for them.

A file of labels is JSON: a list of labels, one label, or an object that has a list under `thefts`. A label has
`started_at` and `seconds` or `ended_at` (times in ISO 8601 or epoch seconds), at least one of `session`, `role`,
`principal_id`, `access_key`, and `kind`, its name. Fields that say more, as a planted theft's do, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detector.core.access import I64
from detector.core.principal import Principal
from detector.core.times import epoch
from detector.errors import InputError, UnreadablePathError
from replay.whatif.summary import Summary
from replay.whatif.windows import Episodes

REMEDY = 'expected [{"kind": …, "session": ARN, "started_at": TIME, "seconds": NUMBER}, …]'


class Label(msgspec.Struct, frozen=True):
    """A theft. Times in epoch seconds or ISO 8601; it lasted `seconds`, or until `ended_at`."""

    started_at: int | str
    seconds: int = -1
    ended_at: int | str = -1
    kind: str = "theft"
    session: str = ""
    role: str = ""
    principal_id: str = ""
    access_key: str = ""

    @property
    def begin(self) -> int:
        """Its first second."""
        return _second(self.started_at)

    @property
    def end(self) -> int:
        """Its last second."""
        return self.begin + self.seconds if self.seconds >= 0 else _second(self.ended_at)

    @property
    def shown(self) -> str:
        """What a person is told of who it was."""
        return self.session or self.principal_id or self.access_key or self.role

    def is_of(self, who: Principal) -> bool:
        """Whether these are the thief's credentials."""
        named = [
            self.session and self.session in (who.session_shown, who.session),
            self.principal_id and self.principal_id in (who.principal_id, who.session),
            self.access_key and self.access_key == who.access_key,
        ]
        if self.session or self.principal_id or self.access_key:
            return any(named)
        return self.role in (who.role_shown, who.role)


def _second(time: int | str) -> int:
    """Epoch seconds; -1 for what is no time."""
    return time if isinstance(time, int) else -1 if (second := epoch(time)) is None else second


def read_labels(path: Path) -> list[Label]:
    """The labels of a file. Raises InputError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        found: Any = msgspec.json.decode(content)
        if isinstance(found, dict):
            found = found.get("thefts", [found])
        labels = msgspec.convert(found, list[Label])
    except msgspec.MsgspecError as error:
        raise InputError(f"no labels: {error}", where=str(path), remedy=REMEDY) from error
    for number, label in enumerate(labels):
        if not label.shown or not 0 <= label.begin <= label.end:
            raise InputError("expected who it was, from when to when", where=f"{path}: label {number}", remedy=REMEDY)
    return labels


@dataclass(frozen=True, slots=True)
class Catch:
    """What became of a theft. delay: seconds from its beginning to the first finding, None if it is missed.

    already: a finding of the thief's group was open when it began, so that nothing new was told of it.
    """

    label: Label
    delay: int | None
    already: bool = False


class Trace:
    """The groups in which a rule counts a theft's records, and there the first and the last second of them."""

    def __init__(self, label: Label, summary: Summary) -> None:
        self.label = label
        thief = np.fromiter(map(label.is_of, summary.principals), np.bool_, len(summary.principals))
        rows = np.flatnonzero(summary.of(thief) & (summary.second >= label.begin) & (summary.second <= label.end))
        group, second = summary.group[rows], summary.second[rows]
        self.groups, first = np.unique(group, return_index=True)
        last = np.searchsorted(group, self.groups, "right") - 1
        self.first, self.last = second[first], second[last]

    def caught(self, found: Episodes, grain: int) -> Catch:
        """Whether one of these episodes opened for it, and when. grain: seconds that are counted as one."""
        opened: list[int] = []
        already = False
        for group, first, last in self._stretches(grain):
            mine = slice(*np.searchsorted(found.group, (group, group + 1)))
            at = found.opened_at[mine]
            opened += at[(at >= first) & (at <= last)].tolist()
            already |= bool(((at < first) & (found.last_at[mine] >= first)).any())
        if not opened:
            return Catch(self.label, None, already)
        return Catch(self.label, max(0, min(opened) - self.label.begin))

    def _stretches(self, grain: int) -> Iterable[tuple[int, int, int]]:
        first: I64 = self.first // grain * grain
        return zip(self.groups.tolist(), first.tolist(), self.last.tolist(), strict=True)
