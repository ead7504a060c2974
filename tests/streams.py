"""Streams of access records for tests, and an oracle that shares no code with the engine.

An `Event` is all that a rule sees. `oracle` counts by brute force, straight from the contract's sentences: the value at
second t is the measure over the matching events with `t - window < e.time <= t`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from detector.core.access import AccessBatch, Log, Operation, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.principal import Principal
from detector.core.rule import DecoyRule, Rule, Threshold
from detector.watches import watches

NOW = 1 << 33


@dataclass(frozen=True, order=True)
class Event:
    """One record: epoch second, session name, object key, bytes, and the id all its copies share."""

    time: int
    who: str = "thief"
    key: str = "k"
    size: int = 1
    id: str = ""
    address: str = "11.0.0.1"

    @property
    def dedup_id(self) -> str:
        return self.id or f"{self.time}/{self.who}/{self.key}/{self.size}"


def principal(who: str) -> Principal:
    """A session of one role, as a record names it."""
    return Principal(
        "AssumedRole", f"AROAROLE:{who}", f"arn:aws:sts::111122223333:assumed-role/Role/{who}", "AROAROLE",
        "arn:aws:iam::111122223333:role/Role", "111122223333", session_name=who, principal_id=f"AROAROLE:{who}",
        access_key=f"ASIA{who.upper()}",
    )  # fmt: skip


def batch(events: Iterable[Event]) -> AccessBatch:
    """These events as the engine gets them."""
    builder = BatchBuilder()
    for event in events:
        builder.add(
            Row(
                Log.cloudtrail, event.time, text_hash(event.dedup_id), "111122223333/us-east-1",
                operation=Operation.read, bytes=event.size, who=principal(event.who), has_arn=True, api="GetObject",
                bucket="ml-voice-raw", key=event.key, source_ip=event.address, event_id=event.dedup_id,
            )
        )  # fmt: skip
    return builder.build()


def decoys(*keys: str, **more: Any) -> DecoyRule:
    """A decoy rule with these keys as decoys."""
    fields: dict[str, Any] = {
        "id": "decoys", "title": "a decoy was taken", "severity": "critical", "kind": "decoy",
        "decoys": tuple(f"s3://ml-voice-raw/{key}" for key in keys),
    }  # fmt: skip
    return DecoyRule.model_validate(fields | more)


def rule(measure: str = "objects", window: int = 300, threshold: int = 3, **more: Any) -> Threshold:
    """A threshold rule over reads."""
    fields: dict[str, Any] = {
        "id": "r", "title": "t", "severity": "high", "kind": "threshold", "where": {"operation": "read"},
        "group_by": "session", "measure": measure, "window": f"{window}s", "threshold": threshold,
    }  # fmt: skip
    return Threshold.model_validate(fields | more)


def closed(rules: Sequence[Rule], batches: Iterable[Iterable[Event]]) -> list[Finding]:
    """The CLOSED findings of a replay over these batches."""
    engine = Engine(rules, watches(), best_copies=True)
    for events in batches:
        engine.process(batch(events), NOW)
    assert engine.books.balance()
    return sorted((f for f in engine.finish() if f.state == "closed"), key=lambda f: (f.opened_at, f.finding_id))


def oracle(chosen: Threshold, events: Iterable[Event]) -> list[tuple[int, int, int, int]]:
    """(opened_at, last_at, peak_value, peak_at) of every episode, by brute force; one session group at a time."""
    distinct = {event.dedup_id: event for event in events}.values()
    out = []
    for who in sorted({event.who for event in distinct}):
        mine = [event for event in distinct if event.who == who]
        values = {t: _value(chosen, mine, t) for t in sorted({_grain(chosen, e.time) for e in mine})}
        out += _episodes([(t, v) for t, v in values.items() if v >= chosen.threshold], chosen.window)
    return sorted(out)


def _grain(chosen: Threshold, second: int) -> int:
    return second - second % 60 if chosen.window > 3600 else second


def _value(chosen: Threshold, events: Iterable[Event], t: int) -> int:
    inside = [e for e in events if t - chosen.window < _grain(chosen, e.time) <= t]
    if chosen.measure == "bytes":
        return sum(e.size for e in inside)
    if chosen.measure == "requests":
        return len(inside)
    return len({{"objects": e.key, "source_ips": e.address}[chosen.measure] for e in inside})


def _episodes(crossed: list[tuple[int, int]], window: int) -> list[tuple[int, int, int, int]]:
    out: list[list[tuple[int, int]]] = []
    for t, value in crossed:
        joins = out and t - out[-1][-1][0] <= window and t < out[-1][0][0] + max(86_400, window)
        out[-1].append((t, value)) if joins else out.append([(t, value)])
    return [(run[0][0], run[-1][0], max(v for _, v in run), max(run, key=lambda p: (p[1], -p[0]))[0]) for run in out]


def figures(findings: Iterable[Finding]) -> list[tuple[int, int, int, int]]:
    """What the oracle says, of the engine's findings."""
    return sorted((f.opened_at, f.last_at, int(f.peak_value), f.peak_at) for f in findings)
