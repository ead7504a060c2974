"""A rule in Sigma form, read by `detector.core.sigma`: a threshold rule over what a detection chooses. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detector.core.kinds.threshold import Threshold
from detector.core.sigma_fields import FIELDS

Expression = tuple[Any, ...]
"""("and" | "or", expression, …), ("not", expression), or ("field", name, how, what): plain data, as a digest needs it.

how: `like` and `re` (what: an expression of RE2, to be found in the text), `cidr` (a network), `exists` (whether).
"""


class SigmaRule(Threshold):
    """A detection alone is found at once, as one request; a correlation says how many of what in what time."""

    detection: Expression

    @property
    def extra_columns(self) -> frozenset[str]:
        """Further columns it looks at."""
        return frozenset({FIELDS[name].column for name, *_ in leaves(self.detection)} - {""})


def leaves(expression: Expression) -> Iterator[Expression]:
    """Every (name, how, what) of an expression."""
    if expression[0] == "field":
        yield expression[1:]
    else:
        for inner in expression[1:]:
            yield from leaves(inner)
