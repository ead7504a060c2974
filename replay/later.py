"""What later passes of a replay read: the records as the first pass kept them, or the log files once more.

A finding that reaches over a day has a later pass look at nearly every record again. What it costs to inflate and parse
them a second time is spared: where rules look at keys anyway, and reach over hours, the first pass reads all that
evidence shows, and keeps its batches as parcels in the scratch folder. They take less room there than compressed logs;
beyond `ROOM`, or a quarter of what is free, the files themselves are read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from detector.core.access import I64, AccessBatch
from detector.core.builder import BatchBuilder
from detector.core.parcel import pack, together, unpack
from detector.core.rule import Rule
from detector.core.sought import Sought
from detector.logs.limits import Limits
from replay.files import Files, LogPath
from replay.reader import FileRead, Reads, Records
from replay.scratch import Scratch

PARCELS = "parcel/"
"""How the names of parcels begin."""
ROOM = 1 << 30
"""Bytes of parcels at most."""
SHARE = 4
"""Part of the free room that a parcel may take: nobody's disk is filled to spare CPU."""
KEYED = frozenset({"bucket", "key"})
"""Who reads these has read what is dear: what else evidence shows are a few texts."""
LONG = 3600
"""Seconds: findings of rules that reach no farther have few files read again."""


def worth(rules: Sequence[Rule], columns: frozenset[str]) -> bool:
    """Whether to keep what is read for these rules, which look at these columns."""
    return columns >= KEYED and any(rule.reach > LONG for rule in rules)


class Later:
    """What later passes read: `files` with `how`. reads: when the records in each begin and end."""

    def __init__(self, scratch: Scratch, plain: Records) -> None:
        self.files, self.reads = Files(), Reads()
        self._scratch, self._plain, self._room = scratch, plain, ROOM

    @property
    def how(self) -> Records:
        """Reads what is kept, and the other files as the first pass did."""
        return partial(_records, self._plain, self._scratch.path(PARCELS).parent)

    def take(self, batch: AccessBatch, outcomes: Sequence[FileRead]) -> None:
        """Keep the records of the next files, if there is room; else these and all after them are read again."""
        parcel = pack(batch) if self._room else b""
        self._room = max(0, self._room - len(parcel))
        if self._room and len(parcel) * SHARE < self._scratch.free():
            outcomes = [self._kept(parcel, batch.time[batch.time > 0])]
        else:
            self._room = 0
        for outcome in outcomes:
            self.files.append(outcome.file)
            self.reads.add(outcome)

    def _kept(self, parcel: bytes, times: I64) -> FileRead:
        name = f"{PARCELS}{len(self.files)}"
        self._scratch.save({name: parcel})
        first, last = (int(times.min()), int(times.max())) if len(times) else (None, None)
        return FileRead(LogPath(self._scratch.path(name), len(parcel)), PARCELS, first=first, last=last)


def _records(
    plain: Records,
    folder: Path,
    files: list[LogPath],
    columns: frozenset[str],
    limits: Limits,
    sought: Sought | None = None,
) -> tuple[AccessBatch, list[FileRead]]:
    """As `Records` says, of parcels in this folder, and then of log files, which `plain` reads."""
    parcels = [file for file in files if file.path.parent == folder]
    rest = files[len(parcels) :]
    if not parcels:
        return plain(rest, columns, limits, sought)
    into = BatchBuilder(columns, sought)
    for file in parcels:
        _unpacked(file.path.read_bytes(), into)
    batch, outcomes = into.build(), [FileRead(file, PARCELS) for file in parcels]
    if rest:
        more, came = plain(rest, columns, limits, sought)
        return together([batch, more]), outcomes + came
    return batch, outcomes


def _unpacked(parcel: bytes, into: BatchBuilder) -> None:
    """Add the records of a parcel that are sought."""
    batch = unpack(parcel).cut(into.columns)
    codes = into.codes_of(batch.prints.tolist(), lambda new: [batch.principals[one] for one in new])
    piece = replace(batch, who=np.array([*codes, -1], np.int32)[batch.who])
    if into.sought is not None:
        piece = piece.take(np.flatnonzero(into.sought.rows(piece.time, piece.who, into)))
    into.extend(piece)
