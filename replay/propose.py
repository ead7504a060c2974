"""What `init` proposes from history: thresholds, exceptions, buckets, peer groups. Pure: no chance, no clock.

So that a theft under way is not learnt:
- What a principal usually does is the lower median of its daily peaks: a theft on fewer than half of its days does not
  move it. One seen on fewer than three days has no usual of its own, and is not learnt from.
- A day far above the principal's usual is set aside, and listed to be looked at. So are principals with less than
  three days that read more than any usual.
- Who usually reads far more than the rest is no measure for the rest: it is listed as a heavy reader, with an exception
  of its own, to be confirmed by a person. A theft that has gone on for most of the history shows there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from detector.core.rule import DISTINCT_CAP
from replay.history import History, Peaks

ENOUGH_DAYS = 3
FAR = 4.5
"""Times its usual from which on a day is set aside."""
SMALL = 200
"""Objects in five minutes below which nothing is set aside or heavy."""
HEAVY = 5.0
"""Times the usual of three quarters of all from which on a principal is a heavy reader."""
MARGIN = 2.0
LEAST, MOST = 500, 10_000
"""What is proposed at least, and at most: the shipped rule's."""
LISTED = 50


@dataclass(frozen=True, slots=True)
class Suspect:
    """A principal's day that was not learnt from. usual: 0 where it has none of its own."""

    who: str
    day: int
    peak: int
    usual: int


@dataclass(frozen=True, slots=True)
class Heavy:
    """Who usually reads far more than the rest. allow: the limit that is proposed for it."""

    who: str
    usual: int
    allow: int


@dataclass(frozen=True, slots=True)
class Level:
    """What is proposed for rules by session, or by role. learnt: principals with a usual of their own."""

    threshold: int
    learnt: int
    heavy: tuple[Heavy, ...]
    suspects: tuple[Suspect, ...]


def level(peaks: Peaks) -> Level:
    """What is proposed from the daily peaks of a level's principals."""
    usual = {who: lower_median(days) for who, days in sorted(peaks.items()) if len(days) >= ENOUGH_DAYS}
    ordered = sorted(usual.values())
    usual_of_most = max(SMALL, ordered[(3 * len(ordered) - 1) // 4]) if ordered else SMALL
    heavy = {who: mean for who, mean in usual.items() if mean >= HEAVY * usual_of_most}
    rest = [mean for who, mean in usual.items() if who not in heavy]
    threshold = _rounded(MARGIN * max(rest, default=0)) if rest else MOST
    threshold = min(MOST, max(LEAST, threshold))
    suspects = [
        Suspect(who, day, peak, usual.get(who, 0))
        for who, days in peaks.items()
        for day, peak in days.items()
        if peak >= SMALL and peak >= (FAR * usual[who] if who in usual else threshold)
    ]
    return Level(
        threshold,
        len(usual),
        tuple(
            Heavy(who, mean, min(DISTINCT_CAP, _rounded(MARGIN * mean)))
            for who, mean in sorted(heavy.items(), key=lambda one: (-one[1], one[0]))
            if mean >= threshold
        )[:LISTED],
        tuple(sorted(suspects, key=lambda one: (-one.peak, one.who, one.day))[:LISTED]),
    )


def lower_median(days: dict[int, int]) -> int:
    """The middle of the daily peaks, the smaller of two: half of the days have to be high before it is."""
    ordered = sorted(days.values())
    return ordered[(len(ordered) - 1) // 2]


def _rounded(value: float) -> int:
    """Up to two digits."""
    step = int(10 ** max(0, len(str(math.ceil(value))) - 2))
    return math.ceil(value / step) * step


NOT_WORTH = ("log", "trail", "artifact", "build", "tmp", "temp", "athena", "inventory", "cache", "bucketwatch", "cdn")
"""Parts of names of buckets that hold what is not worth a theft, as a rule."""


def worth_protecting(found: History) -> tuple[str, ...]:
    """Buckets that are read, by how often, without those whose names say logs, builds and the like."""
    named = [(name, reads) for name, reads in found.buckets.items() if not any(part in name for part in NOT_WORTH)]
    return tuple(name for name, _ in sorted(named, key=lambda one: (-one[1], one[0]))[:LISTED])


def groups_of(found: History) -> dict[str, tuple[str, ...]]:
    """Peer groups of two roles or more, as names tell them."""
    groups: dict[str, list[str]] = {}
    for role, group in sorted(found.peers.items()):
        groups.setdefault(group, []).append(role)
    return {group: tuple(roles) for group, roles in sorted(groups.items()) if len(roles) > 1}
