"""Kind `baseline`: far above what is usual. Pure: the model itself is in `detector.model`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from detector.core.fields import UNITS, Duration, Number, texts
from detector.core.rulebase import RuleBase


class BaselineRule(RuleBase):
    """Fires when a role's sealed pane is far from what the role and its peers usually do (the online model).

    `threshold` is in decades: 3 means that one role-day in 1,000 looks like this.
    """

    withdrawable: ClassVar[bool] = True

    kind: Literal["baseline"]
    group_by: Annotated[tuple[Literal["role"], ...], BeforeValidator(texts)] = ("role",)
    """`role`"""
    measure: Literal["requests", "objects", "bytes"] = "objects"
    """`objects`, `requests` or `bytes`"""
    threshold: Annotated[Number, Field(gt=0, le=12)] = 3.0
    """decades of rarity, up to 12: 3 means one role-day in 1,000 looks like this"""
    cooldown: Duration = 3600
    """a duration: unusual panes at most so far apart are one finding"""
    learn_role_days: Annotated[int, Field(ge=1)] = 20
    """role-days the organisation needs before anything can fire"""

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it: a day, and the cooldown."""
        return 2 * max(UNITS["d"], self.cooldown)

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"{self.threshold} decades above what is usual: {self.measure} in 5m by {', '.join(self.group_by)}"
