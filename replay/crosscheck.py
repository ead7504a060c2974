"""`replay --cross-check`: does scikit-learn's IsolationForest, which knows nothing of peers or history, see the same?

Offline: it is fitted on all role-days of a whole replay at once, each the peaks of the features that the model judged
that day. A forest grown on a sample of panes cannot tell what lies just outside of the sample from what lies far out,
so days it is, and all of them. It is no judge of the model, nor of a theft; where both agree, two ways of looking do.
It holds 116 bytes a role-day. Importing this imports no scikit-learn; asking it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from detector.core.access import U64
from detector.core.engine import MakeWatch, Watch
from detector.core.finding import LIST_LIMIT, Finding
from detector.core.groupings import GroupKey
from detector.core.peers import ACTING
from detector.core.people import People
from detector.core.rule import BaselineRule, Rule
from detector.core.times import iso
from detector.core.window import F64

DAY = 86_400
LEAST = 10
"""Role-days that are looked at, even if the model named fewer."""
MOST = 10_000
"""Role-days that a tree of the forest is grown on."""
RoleDay = tuple[int, int]
"""Fingerprint of a role, and day."""
Peaks: TypeAlias = dict[RoleDay, Any]
"""Of each role-day the largest of every feature, float32."""


class CrossCheck:
    """Keeps what baseline rules judge while they are replayed; then asks the forest."""

    def __init__(self) -> None:
        self._peaks: dict[str, Peaks] = {}
        self._named: dict[int, str] = {}

    def beside(self, make: MakeWatch) -> MakeWatch:
        """Watches as made, but those of baseline rules are listened to. A rule that is watched anew begins anew."""

        def made(rule: Rule, people: People) -> Watch:
            watch: Any = make(rule, people)
            if isinstance(rule, BaselineRule):
                self._peaks[rule.id] = {}
                watch.model.observe = self._observer(rule.id, people)
            return watch  # type: ignore[no-any-return]

        return made

    def told(self, findings: Iterable[Finding]) -> list[dict[str, Any]]:
        """What it says of each baseline rule, for the summary."""
        found = list(findings)
        return [self._of(rule, [one for one in found if one.rule_id == rule]) for rule in sorted(self._peaks)]

    def _observer(self, rule: str, people: People) -> Callable[[int, U64, list[GroupKey], F64], None]:
        def observe(pane: int, prints: U64, keys: list[GroupKey], x: F64) -> None:
            peaks, day = self._peaks[rule], pane // DAY
            for role, key, values in zip(prints.tolist(), keys, x.astype(np.float32), strict=True):
                peaks[role, day] = np.maximum(values, peaks.get((role, day), values))
                if role not in self._named:
                    self._named[role] = " ".join(map(people.name, ACTING, key))

        return observe

    def _of(self, rule: str, findings: list[Finding]) -> dict[str, Any]:
        ranked = _ranked(self._peaks[rule])
        days = [_days(one) for one in findings]
        named = set[RoleDay]().union(*days)
        top = ranked[: len(named)]
        others = [one for one in ranked[: max(LEAST, len(named))] if one not in named]
        return {
            "rule_id": rule,
            "role_days": len(ranked),
            "role_days_named": len(named),
            "findings": len(findings),
            "findings_ranked_as_high": sum(not of.isdisjoint(top) for of in days),
            "not_named": [
                {"role": self._named[role], "day": iso(day * DAY)[:10], "rank": ranked.index((role, day)) + 1}
                for role, day in others[:LIST_LIMIT]
            ],
        }


def _days(finding: Finding) -> set[RoleDay]:
    first = finding.opened_at // DAY
    return {(finding.group_id, day) for day in range(first, finding.last_at // DAY + 1)}


def _ranked(peaks: Peaks) -> list[RoleDay]:
    """All role-days, the most isolated first."""
    if not peaks:
        return []
    from sklearn.ensemble import IsolationForest

    role_days = sorted(peaks)
    x = np.stack([peaks[one] for one in role_days])
    forest: Any = IsolationForest
    usual = forest(random_state=0, max_samples=min(MOST, len(x))).fit(x).score_samples(x)
    return [role_days[at] for at in np.argsort(usual, kind="stable").tolist()]
