"""Log files that a finding names, read anew: does the rule fire on them by itself? Pure.

The responder's process trusts no finding that it is handed: whoever can write an order could otherwise have anybody's
session revoked. Log files are written by AWS, into a bucket that the responder names in its own config.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detector.core.admit import Admission
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.projection import OF_EVIDENCE, columns
from detector.core.rule import Rule
from detector.logs.limits import LIMITS, Limits
from detector.logs.read import read
from detector.watches import watches

ROWS = 200_000
"""Records of one batch, about."""


def recomputed(
    wanted: Mapping[str, Any],
    rule: Rule,
    files: Iterable[tuple[str, bytes]],
    admission: Admission = Admission(),  # noqa: B008  immutable
    limits: Limits = LIMITS,
) -> Finding | None:
    """The finding of this rule about the group of the wanted one, from these files alone; None if there is none."""
    engine = Engine([rule], watches(gather=True))
    needed = columns([rule], prefer=bool(admission.prefer)) | OF_EVIDENCE | {"partition"}
    found: list[Finding] = []
    builder = BatchBuilder(needed)
    for name, data in files:
        read(data, name, builder, limits)
        if builder.rows >= ROWS:
            found += _counted(engine, admission, builder)
            builder = BatchBuilder(needed)
    found += _counted(engine, admission, builder) + engine.finish()
    return _same(wanted, found)


def _counted(engine: Engine, admission: Admission, builder: BatchBuilder) -> list[Finding]:
    engine.process(admission.apply(builder.build()), 0)
    return engine.judge()


def _same(wanted: Mapping[str, Any], found: Sequence[Finding]) -> Finding | None:
    """The last word on the wanted group, if it is about the same session."""
    who = wanted.get("principal") or {}
    mine = [f for f in found if f.rule_id == wanted.get("rule_id") and f.group == wanted.get("group") and f.principal]
    same = [f for f in mine if (f.principal or {}).get("principal_id") == who.get("principal_id")]
    return max(same, key=lambda finding: finding.last_at, default=None)
