"""`Baseline`: one rule's online model of what is usual for every role. Pure: panes in, judgements out.

1. Panes come sealed, in (pane, role) order, active panes only; each is scored first and learned after.
2. Roles share a pool (for the young) and a tail (for everybody); nothing else is shared.
3. The tail learns a day when it is over: a theft is never measured against itself.
4. State is plain numbers; after `restore` every score is the same to the last bit.

Importing this module imports River: do so only where a baseline rule is loaded. `Judgement` is cheap to import.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from river.base import AnomalyDetector

from detector.errors import StateError
from detector.model.calibration import CALM, Tail, TailState
from detector.model.codec import seal, unseal, unusable
from detector.model.detector import ALPHA, POOL_ALPHA, Moments, RateResidual
from detector.model.judgement import Judgement

DAY = 86_400
FORGET_AFTER = 28 * DAY
MAGIC, VERSION = b"BWbl", 1
_NEVER = -(1 << 62)

Features = dict[Hashable, Any]
Make = Callable[[], AnomalyDetector]


@dataclass(slots=True)
class _Role:
    """One role's detector, how many panes it judged, its last pane, its latest episode; and these as last saved."""

    detector: AnomalyDetector
    panes: int = 0
    last: int = _NEVER
    opened: int = _NEVER
    above: int = _NEVER
    saved: msgspec.Raw | None = None

    def packed(self) -> msgspec.Raw:
        """As it stands in a snapshot. Most roles are what they were at the last one, and are not packed anew."""
        if self.saved is None:
            state = _rate_residual(self.detector).state()
            row = (state, self.panes, self.last, self.opened, self.above)
            self.saved = msgspec.Raw(msgspec.msgpack.encode(row))
        return self.saved


class _State(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    measure: str
    alpha: float
    now: tuple[int, str]
    tail: TailState
    pool: Moments
    today: dict[str, float]
    roles: dict[str, tuple[Moments, int, int, int, int]]


class Baseline:
    """What is usual for every role, and how rare this pane is.

    Args:
        measure: `requests`, `objects` or `bytes`.
        threshold: score, in decades of role-days, at which a pane is above.
        cooldown_seconds: panes above, at most this far apart, are one episode of their role and one alert. An episode
            is cut 24 hours (or one cooldown, if longer) after it opened, as everywhere in bucketwatch.
        alpha: weight of one active pane in a role's level.
        warmup_panes: active panes a role needs before it can page.
        quiet_until: role-days the organisation needs before anything can page.
        calm: score below which days are not told apart (`calibration.CALM`); 0 where scores are no scales.
        make: makes the detector of a new role, any River anomaly detector; what is no `RateResidual` cannot be saved.
            None makes a `RateResidual` on the pool of all roles.
    """

    def __init__(
        self,
        measure: str,
        threshold: float,
        cooldown_seconds: int,
        *,
        alpha: float = ALPHA,
        warmup_panes: int = 12,
        quiet_until: int = 20,
        calm: float = CALM,
        make: Make | None = None,
    ) -> None:
        self.measure, self.threshold, self.cooldown_seconds = measure, threshold, cooldown_seconds
        self.alpha, self.warmup_panes = alpha, warmup_panes
        self._make = make or self._make_rate_residual
        self._pool = RateResidual(measure, POOL_ALPHA, clip=5.0)
        self._tail = Tail(quiet_until, calm)
        self._roles: dict[str, _Role] = {}
        self._today: dict[str, float] = {}
        self._now: tuple[int, str] = (_NEVER, "")

    def __len__(self) -> int:
        """Roles in memory."""
        return len(self._roles)

    def observe(self, pane: int, role: str, features: Mapping[str, float]) -> Judgement:
        """Judge one sealed, active pane of one role, then learn from it.

        Args:
            pane: epoch second at which the pane begins.
            role: key of the role.
            features: `requests`, `objects` and `bytes` of this role in this pane.

        Raises:
            ValueError: the pane is not after the one before it in (pane, role) order.
        """
        self._advance(pane, role)
        known = self._roles.get(role)
        if known is None:
            known = self._roles[role] = _Role(self._make())
        x = cast("Features", features)
        known.saved = None
        z = known.detector.score_one(x)
        judgement = self._judge(pane, role, known, x, z)
        self._learn(pane, role, known, x, z)
        return judgement

    @property
    def learnt(self) -> int:
        """Role-days the tail has learnt from."""
        return self._tail.days

    def snapshot(self) -> bytes:
        """The whole state. `StateError` when a detector from `make` has no plain-number state to save."""
        roles: Any = {name: role.packed() for name, role in self._roles.items()}
        state = _State(self.measure, self.alpha, self._now, self._tail.state(), self._pool.state(), self._today, roles)
        return seal(MAGIC, VERSION, msgspec.msgpack.encode(state))

    def restore(self, sealed: bytes) -> None:
        """Take up a snapshot; `StateError`, and nothing changed, when it is damaged or not of this version and rule."""
        state = self._decode(unseal(MAGIC, VERSION, sealed))
        roles = {name: self._restored(*saved) for name, saved in state.roles.items()}
        self._roles, self._today, self._now = roles, state.today, state.now
        self._pool.load(state.pool)
        self._tail.load(state.tail)

    def _advance(self, pane: int, role: str) -> None:
        """Move to this pane; where a day ends, teach it to the tail and forget roles that are long gone."""
        if (pane, role) <= self._now:
            raise ValueError(f"expected a pane after {self._now}, got {(pane, role)}: panes are judged once, in order")
        if pane // DAY > self._now[0] // DAY:
            for maximum in sorted(self._today.values()):
                self._tail.add(maximum)
            self._today.clear()
            self._roles = {name: r for name, r in self._roles.items() if pane - r.last <= FORGET_AFTER}
        self._now = (pane, role)

    def _judge(self, pane: int, role: str, known: _Role, x: Features, z: float) -> Judgement:
        learning = self._tail.quiet or known.panes < self.warmup_panes
        score = 0.0 if learning else self._tail.decades(z)
        above = not learning and score >= self.threshold
        return Judgement(
            pane=pane,
            role=role,
            measure=self.measure,
            seen=float(x.get(self.measure, 0.0)),
            expected=known.detector.expected() if isinstance(known.detector, RateResidual) else None,
            z=z,
            score=score,
            above=above,
            crossing=above and self._opens(pane, known),
            learning=learning,
        )

    def _opens(self, pane: int, known: _Role) -> bool:
        """Note a pane above; True when it opens an episode."""
        apart = pane - known.above > self.cooldown_seconds
        cut = pane - known.opened >= max(DAY, self.cooldown_seconds)
        known.above = pane
        if apart or cut:
            known.opened = pane
        return apart or cut

    def _learn(self, pane: int, role: str, known: _Role, x: Features, z: float) -> None:
        if known.panes >= self.warmup_panes:  # the tail is made of what can page, and only of that
            self._today[role] = max(z, self._today.get(role, 0.0))
        known.detector.learn_one(x)
        self._pool.learn_one(x)
        known.panes += 1
        known.last = pane

    def _make_rate_residual(self) -> RateResidual:
        return RateResidual(self.measure, self.alpha, pool=self._pool)

    def _decode(self, body: bytes) -> _State:
        try:
            state = msgspec.msgpack.decode(body, type=_State)
        except msgspec.MsgspecError as error:
            raise unusable(str(error)) from error
        if (state.measure, state.alpha) != (self.measure, self.alpha):
            raise unusable(
                f"expected measure {self.measure!r} and alpha {self.alpha}, got {state.measure!r} and {state.alpha}"
            )
        return state

    def _restored(self, moments: Moments, panes: int, last: int, opened: int, above: int) -> _Role:
        detector = _rate_residual(self._make())
        detector.load(moments)
        return _Role(detector, panes, last, opened, above)


def _rate_residual(detector: AnomalyDetector) -> RateResidual:
    if not isinstance(detector, RateResidual):
        raise StateError(
            f"a baseline of {type(detector).__name__} cannot be saved, only one of RateResidual",
            remedy="use the built-in baseline, or run this rule in replay only, where nothing is saved",
        )
    return detector
