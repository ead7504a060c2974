"""What a batch on Spark came to: the rows that its shards sent the driver, put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from detector.core.access import AccessBatch, Reject
from detector.core.books import Books
from detector.core.builder import BatchBuilder
from detector.core.finding import Finding
from detector.core.parcel import together, unpack
from replay.shards import finding_of
from replay.spark.stages import Outcome

_DECODE = msgspec.msgpack.Decoder().decode


@dataclass(slots=True)
class Came:
    """What a batch came to. rules: texts by file, where other rules count from it on."""

    number: int = 0
    rules: dict[str, str] | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    books: dict[str, Books] = field(default_factory=dict)
    seen: list[AccessBatch] = field(default_factory=list)
    named: list[AccessBatch] = field(default_factory=list)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    learning: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, parcels: Iterable[bytes]) -> Came:
        """From what the shards sent the driver."""
        came = cls()
        for what, *told in map(_DECODE, parcels):
            getattr(came, f"_{what}")(*told)
        return came

    def _head(self, number: int, rules: dict[str, str] | None) -> None:
        self.number, self.rules = number, rules

    def _files(self, outcomes: list[Any], rejects: list[Any]) -> None:
        self.outcomes += [Outcome(*one) for one in outcomes]
        self.rejects += [Reject(*one) for one in rejects]

    def _seen(self, seen: bytes, events: bytes) -> None:
        self.seen.append(unpack(seen))
        self.named.append(unpack(events))

    def _books(self, shard: str, books: dict[str, Any]) -> None:
        self.books[shard] = Books.of(books)

    def _found(self, shard: str, found: list[Any], failures: dict[str, str], learning: list[str]) -> None:
        self.findings[shard] = list(map(finding_of, found))
        self.failures |= failures
        self.learning[shard] = learning


def whole(batches: Sequence[AccessBatch], rejects: Sequence[Reject] = ()) -> AccessBatch:
    """The records of shards as one batch."""
    full = [batch for batch in batches if len(batch)]
    whole = together(full) if full else BatchBuilder().build()
    return replace(whole, rejects=list(rejects))
