"""What all roles of a rule have in common: pools, alert line, and whether enough is known to page. Pure.

It changes at a UTC midnight, by the day that all shards had together, and where a person says what a finding was.
"""

from __future__ import annotations

import msgspec

from detector.model.calibration import Line, LineState
from detector.model.codec import opened, seal, unusable
from detector.model.day import Day
from detector.model.pools import Pools
from detector.model.score import WIDTH
from detector.model.tail import TailState

MAGIC, VERSION = b"BWbl", 2
DRIFT, FEW = 0.1, 3
"""Where a larger share of all principals is alerted on in one day, it is the organisation that changed: that day is
learned. Otherwise who was alerted on teaches neither tails nor line, so that no theft hides the next one."""


class _State(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    width: int
    tails: list[tuple[str, str, TailState]]
    levels: list[tuple[str, str, list[float], list[float]]]
    novelty: list[tuple[str, list[float]]]
    line: LineState
    filters: int | None = None


class Organisation:
    """share, learn_role_days, threshold, frozen: as of `Baseline`."""

    def __init__(self, share: float, learn_role_days: int, threshold: float | None, *, frozen: bool) -> None:
        self.pools = Pools()
        self.calibration = Line(share)
        self.learn_role_days, self.threshold, self.frozen = learn_role_days, threshold, frozen

    def configure(self, share: float, learn_role_days: int, threshold: float | None, *, frozen: bool) -> None:
        """From now on these settings hold; what was learned stands."""
        self.learn_role_days, self.threshold, self.frozen = learn_role_days, threshold, frozen
        self.calibration.ask(share)

    @property
    def line(self) -> float:
        """The score from which on a principal is alerted on."""
        return self.threshold if self.threshold is not None else self.calibration.level

    @property
    def learning(self) -> bool:
        """Whether it knows too little to page."""
        return self.pools.role_days < self.learn_role_days

    def learn(self, day: Day) -> None:
        """Learn the day of all roles."""
        taught = []
        if self.pools.known:
            alerts = sum(role.alerted for role in day.roles)
            drift = alerts > max(FEW, DRIFT * day.known)
            taught = [role for role in day.roles if drift or not role.alerted]
            if not self.learning and not self.frozen:
                scores = [role.score for role in taught if role.score > 0]
                self.calibration.add(day.number, len(day.roles), 0 if drift else alerts, scores)
        if not self.frozen:
            self.pools.midnight(day.number, day.roles, taught)

    def state(self, filters: int) -> bytes:
        """The whole state; filters: how many a role may have for its keys until the next midnight."""
        state = _State(WIDTH, *self.pools.state(), self.calibration.state(), filters)
        return seal(MAGIC, VERSION, msgspec.msgpack.encode(state))

    def load(self, part: bytes) -> int | None:
        """Take up a `state()`; its filters, of which older ones know nothing. `StateError` when it is damaged."""
        state = opened(MAGIC, VERSION, part, _State)
        if state.width != WIDTH:
            raise unusable(f"expected {WIDTH} channels, got {state.width}")
        self.pools.load(state.tails, state.levels, state.novelty)
        self.calibration.load(state.line)
        return state.filters
