"""Which code watches which kind of rule. What is heavy is imported only where a rule asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detector.core.decoy import DecoyWatch
from detector.core.engine import MakeWatch, Watch
from detector.core.first_seen import FirstSeenWatch
from detector.core.people import People
from detector.core.received import ReceivedWatch
from detector.core.rule import Rule
from detector.core.sequence import SequenceWatch
from detector.core.silence import SilenceWatch
from detector.core.threshold import MatchWatch, ScopeWatch, ThresholdWatch
from detector.core.unaudited import UnauditedWatch


def _baseline(rule: Any, people: People, **how: bool) -> Watch:
    from detector.model.watch import BaselineWatch

    return BaselineWatch(rule, people, **how)


WATCHES: dict[str, Callable[..., Watch]] = {
    "threshold": ThresholdWatch,
    "match": MatchWatch,
    "scope": ScopeWatch,
    "first_seen": FirstSeenWatch,
    "sequence": SequenceWatch,
    "decoy": DecoyWatch,
    "received": ReceivedWatch,
    "baseline": _baseline,
    "silence": SilenceWatch,
    "unaudited": UnauditedWatch,
}
"""Kind → what makes its watch of (rule, people, gather=, once=)."""


def watches(*, gather: bool = False, once: bool = False, texts: bool = True) -> MakeWatch:
    """A maker of watches. `gather`, `once`: as in CrossingWatch. `texts`: as in BaselineWatch."""

    def make(rule: Rule, people: People) -> Watch:
        of_baselines = {} if texts or rule.kind != "baseline" else {"texts": False}
        return WATCHES[rule.kind](rule, people, gather=gather, once=once, **of_baselines)

    return make
