"""Writes log files with thefts in them: samples to try every command on, or what to put beside one's own logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from detector.core.times import iso
from replay.drill.calls import SLOT, Delivery, LogFile, write
from replay.drill.run import Generated, Stage, by_day, planted
from replay.drill.traffic import Asked

DAY = 86_400


def write_sample(stage: Stage, kinds: Sequence[str], seed: int, folder: Path) -> str:
    """Write CloudTrail files and `labels.json` into a folder; what to say of it.

    A generated organisation is written whole, of the user's own logs only what the thieves did.
    """
    thefts = planted(stage, kinds, seed)
    stolen = by_day(list(chain.from_iterable(theft.asked for theft in thefts)))
    if isinstance(stage, Generated):
        start = stage.first
        days = (
            [*asked, *chain.from_iterable((one.within(at, at + DAY) for one in theft.asked) for theft in thefts)]
            for number, asked in enumerate(stage.organisation.days())
            for at in [start + number * DAY]
        )
    else:
        days = (list(asked) for asked in stolen)
    logs = folder / "logs"
    files = len(write(logs, _files(days, stage, seed)))
    labels = [
        {
            "kind": theft.kind,
            "started_at": iso(theft.started_at),
            "ended_at": iso(theft.ended_at),
            "objects": theft.objects,
            "role": min(theft.roles),
            "roles": sorted(theft.roles),
        }
        for theft in thefts
    ]
    (folder / "labels.json").write_text(json.dumps(labels, indent=1) + "\n")
    return f"{files} log files in {logs}, {len(thefts)} thefts in {folder / 'labels.json'}"


def _files(days: Iterator[list[Asked]], stage: Stage, seed: int) -> Iterator[LogFile]:
    """The files of these days, five minutes' requests at a time."""
    delivery, rng = Delivery(seed), np.random.default_rng((seed, 5))
    for asked in days:
        some = [one for one in asked if len(one.times)]
        if not some:
            continue
        midnight = int(some[0].times[0]) // DAY * DAY
        for first in range(midnight, midnight + DAY, SLOT):
            for one in some:
                if one.times[0] < first + SLOT and one.times.max() >= first:
                    for calls in one.within(first, first + SLOT).calls(stage.home):
                        delivery.take(calls, rng)
            yield from delivery.until(first + SLOT)
    yield from delivery.rest()
