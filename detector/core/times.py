"""Times as people and logs write them, and as the engine counts them: whole epoch seconds, UTC. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def iso(second: int) -> str:
    """Epoch seconds as the contract writes times: UTC, whole seconds, `Z`."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_or_none(second: int | None) -> str | None:
    """The same, where there may be no time."""
    return None if second is None else iso(second)


def duration(seconds: int) -> str:
    """Seconds as a person writes them in a rule file: 300 → 5m."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def epoch(text: object) -> int | None:
    """Epoch seconds of `2026-05-01T09:00:00Z` (with fractions too), `20260501T090000Z` or a date; else None."""
    return _epoch(text) if isinstance(text, str) else None


@lru_cache(maxsize=65_536)
def _epoch(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    second = int(moment.timestamp() // 1)
    return second if 0 <= second < 1 << 33 else None
