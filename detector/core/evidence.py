"""What a finding shows of the records behind it. Pure.

Counts are exact. Lists are bounded to `LIST_LIMIT` values, those with the smallest xxh64, so that any order and any
batching of the same records gives the same lists. Texts are the requester's own and are cut to `TEXT_LIMIT` characters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.core.access import MOST, U64, AccessBatch, Column, Log, present, text_hash, text_hashes
from detector.core.finding import LIST_LIMIT, prefixes_of
from detector.core.times import iso

TEXT_LIMIT = 1024
LISTS = {
    "buckets": "bucket",
    "source_ips": "source_ip",
    "user_agents": "user_agent",
    "regions": "region",
    "vpc_endpoints": "vpc_endpoint",
    "destinations": "destination",
    "sample_keys": "key",
}
"""Name of a list in the evidence → the column its values come from; prefixes, sessions, roles and logs are derived."""
DERIVED = ("prefixes", "sessions", "roles", "logs")


def listed(texts: Iterable[str]) -> list[str]:
    """What a list in a finding shows of distinct texts: at most `LIST_LIMIT`, those with the smallest hash, sorted."""
    return sorted(sorted(texts, key=lambda text: (text_hash(text), text))[:LIST_LIMIT])


class Evidence:
    """Folds matching records, each handed over once, into counts and bounded lists.

    `objects`: is handed the hashes of the objects, as often as they come, if they are counted elsewhere.
    """

    def __init__(self, objects: Callable[[U64], None] | None = None) -> None:
        self.requests = 0
        self.bytes = 0
        self._objects: list[U64] = []
        self._take = objects or self._keep_objects
        self.lists: dict[str, dict[str, int]] = {name: {} for name in (*LISTS, *DERIVED)}
        self.since: int | None = None

    def add(self, batch: AccessBatch, rows: npt.NDArray[np.intp]) -> None:
        """Take in these rows of the batch."""
        if not len(rows):
            return
        self.requests += len(rows)
        self.bytes += int(batch.bytes[rows].sum())
        first = int(batch.time[rows].min())
        self.since = first if self.since is None else min(self.since, first)
        self._take(batch.object_hash(rows))
        for name, column in LISTS.items():
            self._take_smallest(name, batch.text[column], rows)
        keys = batch.text["key"].take(rows).each()
        prefixes = prefixes_of([keys.values[code] for code in keys.codes.tolist()])
        every = np.arange(len(prefixes))
        self._take_smallest("prefixes", Column(every.astype(np.int32), prefixes), every)
        who = [batch.principals[code] for code in present(batch.who[rows], len(batch.principals)).tolist()]
        self._keep("logs", {Log(one).name for one in present(batch.log[rows], len(Log)).tolist()})
        self._keep("sessions", {p.session_shown for p in who})
        self._keep("roles", {p.role_shown for p in who})

    def objects(self) -> U64:
        """Hashes of the distinct objects, sorted."""
        if len(self._objects) != 1:
            self._objects = [np.unique(np.concatenate([np.zeros(0, np.uint64), *self._objects]))]
        return self._objects[0]

    def _keep_objects(self, hashes: U64) -> None:
        """Hashes are kept as they come, and put together when the last have grown to as many as the first."""
        hashes = np.unique(hashes)
        self._objects.append(hashes[hashes != 0])  # 0: no object
        if sum(map(len, self._objects[1:])) >= len(self._objects[0]):
            self.objects()

    def _take_smallest(self, name: str, column: Column, rows: npt.NDArray[np.intp]) -> None:
        """Add the texts of these rows to a list, as many as it can have any use for."""
        kept = self.lists[name]
        most = max(kept.values()) if len(kept) == LIST_LIMIT else MOST  # others would not stay
        self._take_in(name, column.smallest(rows, LIST_LIMIT, most))

    def _keep(self, name: str, texts: Collection[str]) -> None:
        """Add texts to a list, no two of them alike."""
        new = list(texts)
        hashes = text_hashes(new)
        self._take_in(name, {new[at]: int(hashes[at]) for at in np.argsort(hashes)[:LIST_LIMIT].tolist()})

    def _take_in(self, name: str, some: Mapping[str, int]) -> None:
        """Add texts and their hashes to a list; of all that came the smallest stay."""
        kept = self.lists[name]
        kept.update(some)
        if len(kept) > LIST_LIMIT:
            self.lists[name] = dict(sorted(kept.items(), key=lambda item: (item[1], item[0]))[:LIST_LIMIT])

    def merge(self, other: Evidence) -> None:
        """Take in evidence of other records."""
        self.requests += other.requests
        self.bytes += other.bytes
        self._take(other.objects())
        for name, kept in other.lists.items():
            self._keep(name, kept)
        if other.since is not None:
            self.since = other.since if self.since is None else min(self.since, other.since)

    def to_json(self, *, partial: bool = False) -> dict[str, Any]:
        """The finding's `evidence`. `partial`: gathered only from `since` on (the daemon), and says so."""
        out: dict[str, Any] = {"requests": self.requests, "objects": len(self.objects()), "bytes": self.bytes}
        for name, kept in self.lists.items():
            out[name] = sorted(text[:TEXT_LIMIT] for text in kept)
        if partial and self.since is not None:
            out["since"] = iso(self.since)
        return out

    def snapshot(self) -> dict[str, Any]:
        """Plain data for the engine's snapshot."""
        return {
            "requests": self.requests,
            "bytes": self.bytes,
            "objects": self.objects().tobytes(),
            "lists": self.lists,
            "since": self.since,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Evidence:
        """The evidence a snapshot describes."""
        evidence = cls()
        evidence.requests, evidence.bytes, evidence.since = state["requests"], state["bytes"], state["since"]
        evidence._take(np.frombuffer(state["objects"], np.uint64))
        evidence.lists |= state["lists"]
        return evidence


class Slices:
    """Evidence of one group by slices of time, so that a finding shows its own time only. `width`: seconds."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._slices: dict[int, Evidence] = {}

    def add(self, batch: AccessBatch, rows: npt.NDArray[np.intp]) -> None:
        """Take in these rows of the batch."""
        number = batch.time[rows] // self.width
        for one in np.unique(number).tolist():
            self._slices.setdefault(one, Evidence()).add(batch, rows[number == one])

    def between(self, after: int, until: int) -> Evidence:
        """Evidence of the slices that reach into `after < time <= until`."""
        merged = Evidence()
        for number, evidence in self._slices.items():
            if number * self.width <= until and (number + 1) * self.width > after:
                merged.merge(evidence)
        return merged

    def __len__(self) -> int:
        return len(self._slices)

    def forget_before(self, second: int) -> None:
        """Let go of slices that end before this second."""
        self._slices = {n: e for n, e in self._slices.items() if (n + 1) * self.width > second}

    def snapshot(self) -> list[Any]:
        """Plain data for the engine's snapshot."""
        return [(number, evidence.snapshot()) for number, evidence in self._slices.items()]

    @classmethod
    def restore(cls, width: int, state: Iterable[Any]) -> Slices:
        """The slices a snapshot describes."""
        slices = cls(width)
        slices._slices = {number: Evidence.restore(evidence) for number, evidence in state}
        return slices
