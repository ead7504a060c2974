"""Kind `baseline`: far above what is usual. Pure: the model itself is in `detector.model`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_serializer

from detector.core.fields import UNITS, Duration, Number, Peers, Size, Texts, texts
from detector.core.river import Detector
from detector.core.rulebase import NOT_COUNTED, RuleBase, digest

NOT_LEARNED = {"alert_budget", "threshold", "cooldown", "learn_role_days", "memory", "frozen"}
"""Fields that change nothing about what is learned."""
_BUDGET = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s+per\s+day\s+per\s+(\d{1,7})\s+principals?\s*")


def budget(value: object) -> float:
    """`1 per day per 1000 principals` as alerts a day and principal."""
    match = _BUDGET.fullmatch(value) if isinstance(value, str) else None
    share = float(match[1]) / float(match[2]) if match and float(match[2]) else 0.0
    if not 0 < share <= 0.1:
        msg = f"expected alerts a day such as '1 per day per 1000 principals' (at most 1 per 10), got {value!r}"
        raise ValueError(msg)
    return share


Budget = Annotated[float, BeforeValidator(budget), WithJsonSchema({"type": "string", "pattern": _BUDGET.pattern})]


class BaselineRule(RuleBase):
    """Fires when a role does what it and its peers hardly ever do (the online model).

    `alert_budget` is what it may cost: alerts a day without a theft, for so many principals. `threshold` takes the
    place of the line that is drawn for it: a score, in decades of principal-days.
    """

    withdrawable: ClassVar[bool] = True
    keyed: ClassVar[bool] = False
    measure: ClassVar[str] = "score"

    kind: Literal["baseline"]
    group_by: Annotated[tuple[Literal["role"], ...], BeforeValidator(texts)] = ("role",)
    """`role`"""
    alert_budget: Budget = 0.001
    """about how many principals may be alerted on without a theft, such as `1 per day per 1000 principals`"""
    threshold: Annotated[Number, Field(gt=0, le=100)] | None = None
    """a fixed alert line in place of the one that is drawn for the budget: a score in decades, up to 100"""
    cooldown: Duration = 6 * 3600
    """a duration: crossings at most so far apart are one finding"""
    learn_role_days: Annotated[int, Field(ge=1)] = 20
    """role-days the organisation needs before anything can fire"""
    peer_groups: Annotated[dict[str, Texts], Field(default_factory=dict)]
    """names of groups, and globs of the roles in each; all others are grouped by the stem of their name"""
    shared_roles: Texts = ()
    """globs of roles that several people share under session names of their own: each person has habits of their own"""
    detector: Detector | None = None
    """for `replay`: a detector or pipeline of River in the model's place, see below"""
    frozen: bool = False
    """`true`: what is usual is held as it was learned, and scores go on by it"""
    memory: Size = 64 << 20
    """a size: what may be remembered, beyond each role's first 1,024 objects, of what was read (13 bits an object)"""

    @field_serializer("peer_groups", when_used="json")
    def _in_order(self, value: dict[str, tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
        """The first group that fits counts, so their order is part of what the rule says."""
        return list(value.items())

    def digest(self) -> str:
        """What was learned stands whatever the rule may cost, and however long an episode lasts."""
        own = set() if self.detector else {"detector"}
        return digest(self.model_dump(mode="json", exclude=NOT_COUNTED | NOT_LEARNED | own))

    @property
    def peers(self) -> Peers:
        """The declared peer groups."""
        return tuple(self.peer_groups.items())

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it: a day, and the cooldown."""
        return 2 * max(UNITS["d"], self.cooldown)

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        cost = f"{self.alert_budget * 1000:g} a day per 1,000 principals"
        return f"unusual for a {', '.join(self.group_by)} and its peers, at {cost}"
