"""A baseline in shards, cut by peer group: they go through the days side by side and meet at every midnight. Pure.

Rules of this file
- Shards may be in several places. `meet` carries what is said in one to all; every place meets equally often.
- A role is in one shard, whatever peer groups its records name, and so is a peer group.
- All begin every day on which any of them has a record: what everybody knows changes for all at once.
- Where one fails all stop: a baseline without some of its roles is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from detector.core.finding import Finding
from detector.core.watermark import FOREVER
from detector.model.channels import DAY
from detector.model.day import Day, together
from detector.model.roles import NEVER
from detector.model.watch import BaselineWatch

Meet = Callable[[bytes], Sequence[bytes]]
"""Says something to all places; what all said at this meeting, in any order."""
_ENCODE, _DECODE = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class ShardError(Exception):
    """A shard failed, here or elsewhere."""


def through(shards: Sequence[BaselineWatch], meet: Meet, *, failed: str = "", last: bool = False) -> list[Finding]:
    """Seal all days of one rule's shards here, as the other places do theirs; what was found here.

    failed: why a shard here has failed already. last: the data ends with these days.
    Raises `ShardError`, in all places, if a shard fails anywhere.
    """
    begun = _met(meet, lambda: [(shard.model.day, shard.days()) for shard in shards], failed)
    last_day = max((day for place in begun for day, _ in place), default=NEVER)
    days = sorted({day for place in begun for _, held in place for day in held})
    over = _over(meet, lambda: _said(shards)) if days and NEVER < last_day < days[0] else None
    findings: list[Finding] = []
    for day in days:

        def turn(day: int = day, over: Day | None = over) -> list[bytes]:
            for shard in shards:
                if over is not None:
                    shard.model.begin(day, over)
                findings.extend(shard.advance((day + 1) * DAY))
            return _said(shards)

        over = _over(meet, turn)
    if last:
        _met(meet, lambda: _closed(shards, findings))
    return findings


def _closed(shards: Iterable[BaselineWatch], into: list[Finding]) -> None:
    """Close what is open: the data ends here."""
    for shard in shards:
        into.extend(shard.advance(FOREVER))


def _said(shards: Iterable[BaselineWatch]) -> list[bytes]:
    """What the day was to these shards: one message, or none of none."""
    days = [shard.model.over() for shard in shards]
    return [together(days).pack()] if days else []


def _over(meet: Meet, say: Callable[[], list[bytes]]) -> Day:
    return together(Day.unpack(said) for place in _met(meet, say) for said in place)


def _met(meet: Meet, say: Callable[[], object], failure: str = "") -> list[Any]:
    """What all places said; nobody goes on where one could not say it."""
    said = None
    try:
        said = say()
    except Exception as error:  # noqa: BLE001  whatever it is, the others are told
        failure = failure or f"{type(error).__name__}: {error}"
    heard = [_DECODE(one) for one in meet(_ENCODE((failure, said)))]
    if failures := sorted(failure for failure, _ in heard if failure):
        raise ShardError(failures[0])
    return [said for _, said in heard]
