"""Whether the online model knows enough to judge. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from detector.core.people import People
from detector.core.rule import BaselineRule, Rule
from detector.doctor.result import Result
from detector.errors import StateError
from detector.model.watch import BaselineWatch


def learning(rules: Sequence[Rule], parts: Mapping[str, bytes], where: str) -> Iterator[Result]:
    """Of each rule that asks the model: how much of what it needs it has seen. parts: of the checkpoint."""
    for rule in rules:
        if not isinstance(rule, BaselineRule):
            continue
        watch = BaselineWatch(rule, People())
        try:
            watch.restore(parts)
        except (StateError, KeyError, ValueError) as error:
            told = f"what rule {rule.id} has learnt cannot be read: {error}"
            yield Result("model", "problem", told, where, "see the state's own check; the rule would start anew")
            continue
        days, needed = watch.learnt(), rule.learn_role_days
        if watch.learning():
            told = f"rule {rule.id} is learning: it has seen {days} of {needed} role-days, and finds nothing until then"
            yield Result("model", "warn", told, where, "wait: threshold rules hold meanwhile")
        else:
            yield Result("model", "ok", f"rule {rule.id} has learnt from {days} role-days", where)
