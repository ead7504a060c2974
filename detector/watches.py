"""Which code watches which kind of rule. The model is imported only where a baseline rule asks for it."""

from __future__ import annotations

from detector.core.engine import MakeWatch, Watch
from detector.core.people import People
from detector.core.rule import BaselineRule, Rule
from detector.core.threshold import ThresholdWatch


def watches(*, gather: bool = False, once: bool = False) -> MakeWatch:
    """A maker of watches. `gather`, `once`: as in ThresholdWatch."""

    def make(rule: Rule, people: People) -> Watch:
        if isinstance(rule, BaselineRule):
            from detector.model.watch import BaselineWatch

            return BaselineWatch(rule, people)
        return ThresholdWatch(rule, people, gather=gather, once=once)

    return make
