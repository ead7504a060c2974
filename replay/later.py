"""What later passes of a replay read: the records as the first pass kept them, or the log files once more.

A finding that reaches over a day has a later pass look at nearly every record again. What it costs to inflate and parse
them a second time is spared: where rules look at keys anyway, and reach over hours, the first pass reads all that
evidence shows, and keeps its batches as parcels in the scratch folder. They take less room there than compressed logs;
beyond `ROOM`, or a quarter of what is free, the files themselves are read again; and where nothing can be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from detector.core.access import AccessBatch
from detector.core.builder import BatchBuilder
from detector.core.parcel import Parcel, keep, together
from detector.core.rule import BaselineRule, Rule
from detector.core.sought import Sought
from detector.errors import EdgeError
from detector.logs import identity, usual_columns
from detector.logs.limits import Limits
from replay.files import Files, LogPath
from replay.reader import FileRead, Reads, Records
from replay.scratch import Scratch

PARCELS = "parcel/"
"""How the names of parcels begin."""
ROOM = 1 << 30
"""Bytes of parcels at most."""
SHARE = 4
"""Part of the free room that parcels may take together: nobody's disk is filled to spare CPU."""
OWN = (identity.principal, usual_columns.requester_of)
"""What reads identities that logs name, when somebody looks at them."""
KEYED = frozenset({"bucket", "key"})
"""Who reads these has read what is dear: what else evidence shows are a few texts."""
LONG = 3600
"""Seconds: findings of rules that reach no farther have few files read again. So have the model's, which are of minutes
(14 in 12 days of 60 roles, two hours together: to keep records for them cost twice what it spared).
"""


def worth(rules: Sequence[Rule], columns: frozenset[str]) -> bool:
    """Whether to keep what is read for these rules, which look at these columns."""
    return columns >= KEYED and any(rule.reach > LONG for rule in rules if not isinstance(rule, BaselineRule))


class Later:
    """What later passes read: `files` with `how`. reads: when the records in each begin and end."""

    def __init__(self, scratch: Scratch, plain: Records) -> None:
        self.files, self.reads = Files(), Reads()
        self._scratch, self._plain = scratch, plain
        self._folder: Path | None = None
        self._size, self._full = 0, False
        self._parcel = bytearray()

    @property
    def how(self) -> Records:
        """Reads what is kept, and the other files as the first pass did."""
        return self._plain if self._folder is None else partial(_records, self._plain, self._folder)

    def take(self, batch: AccessBatch, outcomes: Sequence[FileRead]) -> None:
        """Keep the records of the next files, if there is room; else these and all after them are read again."""
        kept = None if self._full else self._kept(batch)
        self._full = kept is None
        for outcome in outcomes if kept is None else [kept]:
            self.files.append(outcome.file)
            self.reads.add(outcome)

    def _kept(self, batch: AccessBatch) -> FileRead | None:
        parcel = self._parcel
        keep(batch, OWN, parcel)
        size = self._size + len(parcel)
        if size > ROOM or size * SHARE > self._scratch.free() + self._size:
            return None
        path = self._scratch.offer(f"{PARCELS}{len(self.files)}", parcel)
        if path is None:
            return None
        self._size, self._folder = size, path.parent
        times = batch.time[batch.time > 0]
        first, last = (int(times.min()), int(times.max())) if len(times) else (None, None)
        return FileRead(LogPath(path, len(parcel)), PARCELS, first=first, last=last)


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
        _unpacked(Parcel(_held(file), OWN), into)
    batch, outcomes = into.build(), [FileRead(file, PARCELS) for file in parcels]
    if rest:
        more, came = plain(rest, columns, limits, sought)
        return together([batch, more]), outcomes + came
    return batch, outcomes


def _held(file: LogPath) -> bytes:
    try:
        return file.path.read_bytes()
    except OSError as error:
        what = f"records kept for later cannot be read: {error.strerror}"
        remedy = "run the command again, with --tmp in a folder that nobody tidies"
        raise EdgeError(what, where=str(file.path), remedy=remedy) from error


def _unpacked(parcel: Parcel, into: BatchBuilder) -> None:
    """Add the records of a parcel that are sought; of others no text is read."""
    bare = parcel.bare
    who = into.who_of(bare)
    rows = None if into.sought is None else np.flatnonzero(into.sought.rows(bare.time, who, into))
    piece = parcel.batch(into.columns, rows).cut(into.columns)
    into.extend(replace(piece, who=who if rows is None else who[rows]))
