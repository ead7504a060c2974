"""Which code watches which kind of rule. The model is imported only where a baseline rule asks for it."""

from __future__ import annotations

from detector.core.engine import MakeWatch, Watch
from detector.core.people import People
from detector.core.rule import BaselineRule, Rule
from detector.core.threshold import ThresholdWatch


def watches(*, gather: bool = False) -> MakeWatch:
    """A maker of watches. `gather`: collect evidence while counting (the daemon; replay has a second pass)."""

    def make(rule: Rule, people: People) -> Watch:
        if isinstance(rule, BaselineRule):
            from detector.model.watch import BaselineWatch

            return BaselineWatch(rule, people)
        return ThresholdWatch(rule, people, gather=gather)

    return make
