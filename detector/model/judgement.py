"""What the baseline says of one pane of one role, in numbers and in a sentence. Pure; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from detector.core.finding import LIST_LIMIT
from detector.core.groupings import GroupKey
from detector.model.channels import CHANNELS, FAMILIES, H1, H24, H72, M5

PLACES = ("new_in", "from")
"""Of a finding's `baseline`: where new keys lay and where requests came from, each with its count."""
_SPAN = {M5: "5 min", H1: "1 hour", H24: "24 hours", H72: "72 hours"}
_SAID = {
    "reads": "made {} reads",
    "bytes": "read {} bytes",
    "new": "read {} objects it had never read before",
    "young": "read {} objects in places that were new to it",
    "rare": "read {} objects in places where hardly any of its peers ever read",
    "foreign": "read {} objects in places that only one or two others had read",
    "prefixes": "read in {} places it had never read in",
    "nets": "came from {} networks",
    "new_nets": "came from {} networks it had never come from",
    "group_nets": "came from {} networks none of its peers had come from",
    "strange": "read {} objects it had never read before from networks nobody had come from",
    "errors": "made {} requests that were denied or found nothing",
    "new_copies": "copied {} objects to a bucket it had never copied to",
    "strange_copies": "copied {} objects to a bucket nobody had copied to",
    "active": "was active in {} of the 5-minute panes",
    "score": "is {} scales above what is usual by the rule's own detector",
}


class Reason(NamedTuple):
    """One family's best channel. `expected`: the usual value; decades: one principal-day in 10**decades is like it."""

    family: str
    channel: str
    seen: float
    expected: float
    decades: float

    def said(self) -> str:
        """`read 3,109 objects it had never read before in 5 min (usual 4)`."""
        counter, _, window = self.channel.rpartition("_")
        phrase = _SAID[counter].format(f"{self.seen:,.0f}")
        span = {"5m": "5 min", "1h": "1 hour", "24h": "24 hours", "72h": "72 hours"}[window]
        return f"{phrase} in {span} (usual {self.expected:,.0f}; {rarity(self.decades)})"


class Judgement(NamedTuple):
    """A pane of a role that reached the alert line: when first and last, the score, and the reasons, best first.

    crossings: seconds at which the score was at or above the line, ascending, with the score there. prefixes, nets:
    hashes of where new keys lay and of where requests came from, with their counts, the most first.
    """

    pane: int
    role: int
    key: GroupKey
    line: float
    score: float
    crossings: tuple[tuple[int, float], ...]
    reasons: tuple[Reason, ...]
    stake: float
    prefixes: tuple[tuple[int, int], ...] = ()
    nets: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What a finding holds of it."""
        return {
            "score": round(self.score, 3),
            "line": round(self.line, 3),
            "reasons": [
                {
                    "family": r.family,
                    "channel": r.channel,
                    "seen": round(r.seen),
                    "expected": round(r.expected, 1),
                    "one_in": round(10**r.decades),
                }
                for r in self.reasons
            ],
        }

    def explain(self) -> str:
        """`read 3,109 objects … in 5 min (usual 4; one day in 9,000 of its peers' is like this); …`."""
        return "; ".join(reason.said() for reason in self.reasons[:3])


def named(details: Mapping[str, Any], texts: Mapping[int, str]) -> dict[str, Any]:
    """A finding's `baseline` with texts in place of hashes, of each list the most first. texts: what they stand for."""
    out = dict(details)
    for name in PLACES:
        counts = [(texts.get(one, "?"), count) for one, count in details[name]]
        out[name] = [list(pair) for pair in sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:LIST_LIMIT]]
    return out


def rarity(decades: float) -> str:
    """`one principal-day in 1,000 is like this`."""
    one_in = float(f"{10**decades:.1g}")
    return "an ordinary day" if one_in < 2 else f"one principal-day in {one_in:,.0f} is like this"


def reasons(
    channels: tuple[int, ...], decades: tuple[float, ...], values: list[float], expected: list[float]
) -> tuple[Reason, ...]:
    """The families that said something, best first. values, expected: logs by channel."""
    found = [
        Reason(family, CHANNELS[c].name, math.expm1(values[c]), math.expm1(expected[c]), d)
        for family, c, d in zip(FAMILIES, channels, decades, strict=True)
        if c >= 0
    ]
    return tuple(sorted(found, key=lambda r: (-r.decades, r.family)))
