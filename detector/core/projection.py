"""Which columns of a record the loaded rules look at: parsers fill these and skip the rest. Pure.

A rule that looked at a column missing here would fail loudly (`Engine.failures`): a batch then has no such column.
"""

from __future__ import annotations

from collections.abc import Sequence

from detector.core.access import COLUMNS
from detector.core.asked import asked
from detector.core.evidence import LISTS
from detector.core.rule import OPERATIONS, Rule

OF_MEASURE = {
    "objects": {"bucket", "key"},
    "prefixes": {"bucket", "key"},
    "bytes": {"bytes"},
    "source_ips": {"source_ip"},
    "buckets": {"bucket"},
    "score": {"bucket", "key", "bytes", "source_ip", "vpc_endpoint", "destination", "status"},
}
"""Measure → the columns it counts, beside what `select.asked` says of it; the others count rows or principals."""

OF_EVIDENCE = frozenset({*LISTS.values(), "bytes"})
"""What a finding shows of its records."""


def columns(rules: Sequence[Rule], *, prefer: bool = False) -> frozenset[str]:
    """The columns that these rules need. prefer: one log is preferred for some buckets."""
    wanted: set[str] = {"bucket"} if prefer else set()
    for rule in rules:
        wanted |= asked(rule).union(*(OF_MEASURE.get(measure, ()) for measure in rule.measures))
        wanted |= {column for exemption in rule.bound for column in exemption.columns}
        operations = [one.operation or () for where in rule.wheres for one in (where, where.unless) if one]
        if any(name not in OPERATIONS for names in operations for name in names):
            wanted |= {"api", "log_operation"}
    return COLUMNS & wanted
