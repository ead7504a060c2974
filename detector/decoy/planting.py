"""Puts decoys into buckets and takes them out again, and keeps the registry true. No I/O here: plot and files do it.

Rules of this file
- A decoy counts from when it lies there. What crashes in between is mended by doing it again: a decoy is told by its
  SHA-256, and one that lies there already is planted.
- Nothing real is ever overwritten or deleted. Where something else lies under a decoy's name, the decoy is no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

import msgspec

from detector.core.times import iso
from detector.decoy.content import content
from detector.decoy.registry import LONGEST, Decoy, Plan, State, decode, encode
from detector.errors import InputError
from detector.source import Files, Plot

OFTEN = 20
"""Decoys after which the registry is written."""


class Done(NamedTuple):
    """What came of one decoy."""

    decoy: Decoy
    told: str


def plant(plan: Plan, plot: Plot, files: Files, now: int, *, most: int | None = None) -> Iterator[Done]:
    """Plant what of a plan is not planted yet, at most so many. Raises EdgeError, InputError; safe to repeat."""
    kept = _kept(plan, files)
    waiting = [one for one in kept.decoys if one.state == "planned"][:most]
    yield from _each(kept, waiting, files, lambda one: _planted(one, plot, now))


def remove(plan: Plan, plot: Plot, files: Files, now: int, wanted: Callable[[Decoy], bool]) -> Iterator[Done]:
    """Delete those of the wanted that still are what was planted. Raises EdgeError, InputError; safe to repeat."""
    kept = _kept(plan, files)
    chosen = [one for one in kept.decoys if one.state == "planted" and wanted(one)]
    yield from _each(kept, chosen, files, lambda one: _removed(one, plot, now))


def look(decoys: Iterable[Decoy], plot: Plot) -> Iterator[Done]:
    """How decoys lie there now. Raises EdgeError."""
    for one in decoys:
        yield Done(one, _how(one, plot) if one.state == "planted" else one.state)


def file_of(plan: Plan) -> str:
    """Name of a plan's file in the registry."""
    if not plan.name.isalnum():
        raise InputError("expected letters and digits", where=f"name: {plan.name[:40]!r}", remedy="plan anew")
    return f"{plan.name}.json"


def _kept(plan: Plan, files: Files) -> Plan:
    """The plan as the registry has it; itself, if it is new there."""
    name = file_of(plan)
    if name not in files.names():
        return plan
    known = {(one.bucket, one.key): one for one in decode(files.get(name, LONGEST), name).decoys}
    return msgspec.structs.replace(
        plan,
        decoys=tuple(
            (known | {(one.bucket, one.key): one for one in plan.decoys if (one.bucket, one.key) not in known}).values()
        ),
    )


def _each(kept: Plan, chosen: list[Decoy], files: Files, step: Callable[[Decoy], Done]) -> Iterator[Done]:
    """Do one after the other; the registry is true to the last `OFTEN` of them, and at the end."""
    after = {(one.bucket, one.key): one for one in kept.decoys}
    unsaved = 0
    try:
        for one in chosen:
            done = step(one)
            after[one.bucket, one.key] = done.decoy
            unsaved += 1
            if unsaved >= OFTEN:
                _save(kept, after.values(), files)
                unsaved = 0
            yield done
    finally:
        if unsaved:
            _save(kept, after.values(), files)


def _save(kept: Plan, decoys: Iterable[Decoy], files: Files) -> None:
    files.put(file_of(kept), encode(msgspec.structs.replace(kept, decoys=tuple(decoys))))


def _planted(one: Decoy, plot: Plot, now: int) -> Done:
    data = content(one.key, one.size, one.noise)
    if sha256(data).hexdigest() != one.sha256:
        return Done(one, "not planted: its checksum is not that of its bytes: the plan was changed, or is older")
    if plot.put(one.bucket, one.key, data, one.storage_class) is not None:
        return Done(_now(one, "planted", now), "planted")
    how = _how(one, plot)
    return Done(_now(one, "planted" if how == "there" else "removed", now), f"{how} already" if how == "there" else how)


def _removed(one: Decoy, plot: Plot, now: int) -> Done:
    lying = plot.look(one.bucket, one.key)
    if lying is None:
        return Done(_now(one, "removed", now), "gone already")
    if lying.sha256 != one.sha256:
        return Done(_now(one, "removed", now), "left: something else lies there now")
    plot.delete(one.bucket, one.key, lying)
    return Done(_now(one, "removed", now), "removed")


def _how(one: Decoy, plot: Plot) -> str:
    lying = plot.look(one.bucket, one.key)
    if lying is None:
        return "gone"
    return "there" if lying.sha256 == one.sha256 else "something else lies there"


def _now(one: Decoy, state: State, now: int) -> Decoy:
    return msgspec.structs.replace(one, state=state, at=iso(now))
