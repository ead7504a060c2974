"""The daemon's responder where another process carries plans out: it only orders, in the register. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.source import Applied, Standing


class Ordering:
    """Every plan is ordered; `bucketwatch respond serve` looks at the finding itself before it does anything."""

    separate = True

    def before(self, plan: Mapping[str, Any]) -> Applied:
        """Nothing has to be known to order."""
        return Applied(str(plan.get("case_id", "")), "applied", "")

    def apply(self, plan: Mapping[str, Any]) -> Applied:
        """The order is the event that the casework writes."""
        return Applied(str(plan.get("case_id", "")), "ordered", "left to the responder (response.responder: separate)")

    def remove(self, plan: Mapping[str, Any], _before: Mapping[str, Any]) -> Applied:
        """The responder lifts what has ended."""
        return Applied(str(plan.get("case_id", "")), "refused", "left to the responder")

    def look(self, _plan: Mapping[str, Any]) -> Standing:
        """The responder looks."""
        return Standing("unknown", "left to the responder")
