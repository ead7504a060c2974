"""What a person says of a finding: a theft (`true`), or what this role does anyway (`benign`). Pure.

A rule that learns takes it up; any other has nothing to take up, and its verdicts are journalled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from detector.core.times import epoch

What = Literal["true", "benign"]
LONGEST = 1 << 20
"""Bytes of a verdict: what is longer is none."""


class Verdict(msgspec.Struct, frozen=True):
    """at: epoch second. role: key of the finding's role, as counted. opened_at, last_at: of the finding, epoch seconds.

    prefixes: what it names of where the data was (bucket/prefix). networks: from where.
    """

    verdict: What
    rule_id: str
    finding_id: str
    alert_id: str
    reason: str
    by: str
    at: int
    opened_at: int
    last_at: int
    peak_value: float
    group: dict[str, str]
    prefixes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    schema: Literal["bucketwatch.verdict.v1"] = "bucketwatch.verdict.v1"


def verdict_on(finding: Mapping[str, Any], what: What, reason: str, by: str, at: int) -> Verdict | None:
    """A verdict on a finding (the contract's JSON); None if that is none."""
    evidence, details = finding.get("evidence") or {}, finding.get("baseline") or {}
    named = {name: [pair[0] for pair in details.get(name) or ()] for name in ("new_in", "from")}
    opened_at, last_at = epoch(finding.get("opened_at")), epoch(finding.get("last_at"))
    if opened_at is None or last_at is None:
        return None
    try:
        return msgspec.convert(
            {
                "verdict": what,
                "rule_id": finding.get("rule_id"),
                "finding_id": finding.get("finding_id") or "",
                "alert_id": finding.get("alert_id") or "",
                "reason": reason,
                "by": by,
                "at": at,
                "opened_at": opened_at,
                "last_at": last_at,
                "peak_value": finding.get("peak_value"),
                "group": finding.get("group") or {},
                "prefixes": named["new_in"] or evidence.get("prefixes") or (),
                "networks": named["from"],
            },
            Verdict,
        )
    except msgspec.ValidationError:
        return None


def encode(verdict: Verdict) -> bytes:
    """As a file."""
    return msgspec.json.format(msgspec.json.encode(verdict), indent=1) + b"\n"


def decode(data: bytes) -> Verdict | None:
    """A verdict from bytes that anybody may have written; None for anything else."""
    try:
        return msgspec.json.decode(data, type=Verdict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
