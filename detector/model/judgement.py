"""What the baseline says of one pane of one role, in numbers and in a sentence. Pure; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

PANE_SECONDS = 300
"""A pane is five minutes of event time."""

_PHRASES = {"bytes": "read {:,.0f} bytes", "objects": "read {:,.0f} objects", "requests": "made {:,.0f} requests"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """One sealed pane of one role against what is usual.

    - `score`: decades; a role-day whose worst pane is at least this unusual comes once in 10**score role-days.
      Always 0 while `learning`.
    - `above`: the score is at or above the rule's threshold: the pane belongs to an episode of this role.
    - `crossing`: `above`, and it opens that episode: no pane of this role was above within the cooldown before it,
      or the episode that was open is 24 hours old. One crossing is one alert.
    - `seen`, `expected`: the measure's value in this pane, and its typical value for this role (None when the detector
      in use has no such notion).
    - `z`: the detector's own score; for `RateResidual`, distance above the typical value in scales.
    - `learning`: too little is known, of the organisation or of this role, to page.
    """

    pane: int
    role: str
    measure: str
    seen: float
    expected: float | None
    z: float
    score: float
    above: bool
    crossing: bool
    learning: bool

    def explain(self) -> str:
        """`read 3,109 objects in 5 min (usual 4); one role-day in 1,000 looks like this`."""
        phrase = _PHRASES.get(self.measure, "{:,.0f} " + self.measure).format(self.seen)
        usual = "" if self.expected is None else f" (usual {self.expected:,.0f})"
        return f"{phrase} in {PANE_SECONDS // 60} min{usual}; {self._rarity()}"

    def _rarity(self) -> str:
        if self.learning:
            return "still learning what is usual"
        one_in = float(f"{10**self.score:.1g}")
        return "an ordinary role-day" if one_in < 2 else f"one role-day in {one_in:,.0f} looks like this"
