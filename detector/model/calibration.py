"""The alert line: the score that as many principals a day reach as the rule asks for, without labels. Pure.

Solved at every UTC midnight from the daily maxima of the scores that are alerted on. Nobody says which alerts were
thefts: of those there were as many as were asked for are taken to be none, and stand above all others; what was more
says nothing. So a wave of thefts does not lift the line above the next one.

Quiet days prove little: the first ones hold a weekend and no move, redeploy or corpus switch. So a line below the one
we ship is believed as the weeks come; one above it at once.
"""

from __future__ import annotations

import math

KEPT_SHARE = 0.2
"""Of a day's scores the largest fifth is kept."""
DAYS = 28
HIGH, HIGHER = 0.01, 0.002
"""Shares of principal-days between which the tail's slope is measured."""
SLOPES = 0.8, 4.0
SHIPPED_SLOPE = 2.0
"""Score that makes a decade of principal-days rarer: at least and at most, and where nothing is known."""
SHIPPED_HIGH = 6.0
"""The score of one principal-day in 100 where nothing is known."""
LEAN = 200.0
"""Principal-days at which what was seen weighs as much as what we ship."""
RIPE = 14
"""Days after which a line below the shipped one is believed in full; before, as the square of their part of them. Where
four to ten days were believed at once, 1 to 20 false alerts came where one was asked for, most of them on the second
Monday; believed so, 1 to 2 (development seeds, 150 roles), for two of 78 thefts that are caught no more."""

SHOWN = 3
"""Decimals with which a finding shows its score."""

LineState = list[tuple[int, int, int, list[float]]]


class Line:
    """Daily maxima of scores. `share`: of the principals, how many a day may be alerted on without a theft."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._days: dict[int, tuple[int, int, list[float]]] = {}
        self.level = self._solve()

    def add(self, day: int, principals: int, alerts: int, scores: list[float]) -> None:
        """Take in a day: principals active, those alerted on, and the scores above 0 of all others."""
        _, benign, told = self._days.get(day, (0, 0, []))  # what people said before it was over
        kept = sorted(scores, reverse=True)[: max(1, int(KEPT_SHARE * principals))]
        self._days[day] = principals, alerts + benign, sorted([*kept, *told], reverse=True)
        self._days = {one: rows for one, rows in self._days.items() if one > day - DAYS}
        self.level = self._solve()

    def ask(self, share: float) -> None:
        """Solve for another share."""
        self.share = share
        self.level = self._solve()

    def drop(self, day: int, score: float) -> None:
        """This principal-day was a theft: it says nothing about what is usual. score: as findings show it."""
        scores = self._days.get(day, (0, 0, []))[2]
        if (theft := next((one for one in scores if round(one, SHOWN) == round(score, SHOWN)), None)) is not None:
            scores.remove(theft)
            self.level = self._solve()

    def count(self, day: int, score: float) -> None:
        """This alert was none: its score is of those that are usual, and alerts are one less, if need be below none."""
        principals, alerts, scores = self._days.get(day, (0, 0, []))
        self._days[day] = principals, alerts - 1, sorted([*scores, score], reverse=True)
        self.level = self._solve()

    @property
    def principal_days(self) -> int:
        """Principal-days it was solved from."""
        return sum(principals for principals, *_ in self._days.values())

    def state(self) -> LineState:
        """The whole state, as plain numbers."""
        return [(day, *row) for day, row in sorted(self._days.items())]

    def load(self, state: LineState) -> None:
        """Take up a `state()`."""
        self._days = {day: (principals, alerts, list(scores)) for day, principals, alerts, scores in state}
        self.level = self._solve()

    def _solve(self) -> float:
        further = math.log10(HIGH / self.share)
        shipped = SHIPPED_HIGH + SHIPPED_SLOPE * further
        count = self.principal_days
        high, slope = self._seen(count)
        more = high + slope * further - shipped
        learned = sum(principals > 0 for principals, *_ in self._days.values())
        ripe = 1.0 if more > 0 else min(1.0, learned / RIPE) ** 2
        return shipped + count / (count + LEAN) * ripe * more

    def _seen(self, count: int) -> tuple[float, float]:
        """The score of one principal-day in 100, and how much more makes a decade, by what was seen alone."""
        scores = sorted((s for *_, rows in self._days.values() for s in rows), reverse=True)
        above = min(sum(max(0, alerts) for _, alerts, _ in self._days.values()), self.share * count)
        high, higher = (_at(scores, share * count - above) for share in (HIGH, HIGHER))
        return high, min(max((higher - high) / math.log10(HIGH / HIGHER), SLOPES[0]), SLOPES[1])


def _at(descending: list[float], rank: float) -> float:
    """The value at a rank, which may lie between two; 0 past the end."""
    if not descending:
        return 0.0
    place = max(0.0, rank - 0.5)
    below = int(place)
    one, other = (descending[at] if at < len(descending) else 0.0 for at in (below, below + 1))
    return one + (place - below) * (other - one)
