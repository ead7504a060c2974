"""The kinds of rules, and the words of the rule language by the names others know them by. Pure.

A kind is a model here and its watch in `detector.watches`; the rule reader, the JSON Schema and the tests go through
`KINDS`.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from detector.core.fields import (
    DISTINCT_MEASURES,
    Duration,
    Level,
    Levels,
    Measure,
    Model,
    Peers,
    Severity,
    Size,
    seconds,
    size,
)
from detector.core.kinds.baseline import BaselineRule
from detector.core.kinds.decoy import DecoyRule, Reader
from detector.core.kinds.first_seen import FirstSeen
from detector.core.kinds.match import Match
from detector.core.kinds.received import Received, Review
from detector.core.kinds.scope import Scope
from detector.core.kinds.sequence import Sequence
from detector.core.kinds.silence import Silence
from detector.core.kinds.threshold import Threshold
from detector.core.kinds.unaudited import Unaudited
from detector.core.kinds.windowed import DISTINCT_CAP, Windowed
from detector.core.rulebase import Exemption, RuleBase
from detector.core.where import OPERATIONS, Conditions, Retention, Where

WindowedRule = Threshold | Match | Scope | FirstSeen | Sequence | DecoyRule | Unaudited | Received
"""The kinds that count in a window."""
Rule = Annotated[WindowedRule | BaselineRule | Silence, Field(discriminator="kind")]

KINDS: dict[str, type[RuleBase]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(Rule)[0])
}
"""Word for `kind` in a rule → the model of that kind."""

__all__ = [
    "DISTINCT_CAP", "DISTINCT_MEASURES", "KINDS", "OPERATIONS", "BaselineRule", "Conditions", "DecoyRule", "Duration",
    "Exemption", "FirstSeen", "Level", "Levels", "Match", "Measure", "Model", "Peers", "Reader", "Received",
    "Retention", "Review", "Rule", "RuleBase", "Scope", "Sequence", "Severity", "Silence", "Size", "Threshold",
    "Unaudited", "Where", "Windowed", "WindowedRule", "seconds", "size",
]  # fmt: skip
