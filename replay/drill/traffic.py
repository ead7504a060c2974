"""Requests by the million: as columns of an `AccessBatch`, or as the log files CloudTrail would write of them. Pure.

Rules of this file
- `Asked` is many requests of one principal for one thing; a day is a list of them. Both forms are made of that list, so
  that a batch and the records of the files say the same, but for ids.
- An object is a number in a place: its key is made when a batch needs it, so that a bucket of a million costs nothing.
- A turn tells which session, from which address: `issued_at << 16 | variant`. Only a `Who` knows what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from heapq import merge
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from detector.core.access import COLUMNS, I32, I64, U64, AccessBatch, Column, Log, Mask, unresolved
from detector.core.operation import classify
from detector.core.principal import Principal, print_of
from detector.core.principals import Principals
from detector.logs.event_columns import outcome
from detector.logs.identity import named
from replay.drill.calls import (
    APIS,
    DUPLICATE_SHARE,
    ERROR_BODY_BYTES,
    Actor,
    Calls,
    Partition,
    object_bytes,
    object_sizes,
)

VARIANTS = 16
NUMBERS = 40


class Place(NamedTuple):
    """A prefix and the objects in it: `seen` are the first of them, all others are named by their number."""

    bucket: str
    prefix: str
    ending: str = ""
    seen: tuple[str, ...] = ()

    def key(self, number: int) -> str:
        """The key of an object."""
        if number < len(self.seen):
            return self.prefix + self.seen[number]
        return f"{self.prefix}{number:07d}{self.ending}"

    def keys(self, numbers: Sequence[int]) -> list[str]:
        """The keys of many objects."""
        if self.seen or "\n" in self.prefix + self.ending:
            return list(map(self.key, numbers))
        one = f"{self.prefix.replace('%', '%%')}%07d{self.ending.replace('%', '%%')}\n"
        return (one * len(numbers) % tuple(numbers)).split("\n")[:-1]  # one format for all: three times as fast


@dataclass(frozen=True, slots=True, eq=False)
class Who:
    """A principal over time. `at(issued_at, variant)`: as its records show it; a variant is another address or node."""

    number: int
    at: Callable[[int, int], Actor]

    def of(self, turn: int) -> Actor:
        """As its records show it in a turn."""
        return self.at(turn >> VARIANTS, turn & (1 << VARIANTS) - 1)


def turns(issued: I64, variant: I64 | int = 0) -> I64:
    """Turns with credentials issued at these epoch seconds."""
    return issued << VARIANTS | variant


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Requests of one principal: for the object `numbers[i]` of the place at epoch second `times[i]`, in `turns[i]`.

    error: the error code of all of them. destination: the bucket copies went to. listed: in the order of a listing, so
    that whoever asks meets what lies among the objects.
    """

    who: Who
    api: str
    place: Place
    numbers: I64
    times: I64
    turns: I64
    error: str | None = None
    destination: str | None = None
    listed: bool = False

    def calls(self, homes: Callable[[str], Partition]) -> Iterator[Calls]:
        """The same for the writer of log files, turn by turn."""
        for turn in np.unique(self.turns).tolist():
            rows = np.flatnonzero(self.turns == turn)
            keys = self.place.keys(self.numbers[rows].tolist())
            if APIS[self.api].lists:
                keys = [self.place.prefix] * len(rows)
            home = homes(self.destination or self.place.bucket)
            yield Calls(
                self.who.of(turn), self.api, self.place.bucket, keys, self.times[rows], self.error, self.destination,
                home,
            )  # fmt: skip

    def within(self, first: int, end: int) -> Asked:
        """What of it was asked for at `first <= time < end`."""
        rows = np.flatnonzero((self.times >= first) & (self.times < end))
        return replace(self, numbers=self.numbers[rows], times=self.times[rows], turns=self.turns[rows])


class Delivery(NamedTuple):
    """How logs come: in files every `tick` seconds, `soonest` to `latest` seconds after a record."""

    soonest: int
    latest: int
    tick: int

    def due(self, times: I64, rng: np.random.Generator) -> I64:
        """When the file of each record is there."""
        first = -(-(times + self.soonest) // self.tick) * self.tick
        tardy = (rng.random(len(times)) < 0.5) & (first + self.tick <= times + self.latest)
        due: I64 = first + self.tick * tardy
        return due


S3 = Delivery(60, 420, 300)
EVENTBRIDGE = Delivery(5, 60, 20)


class Arrival(NamedTuple):
    """A batch, and the epoch second at which it is there to be read."""

    at: int
    batch: AccessBatch


class _Face(NamedTuple):
    """What the columns need of a principal's turn."""

    principal: Principal
    print: int
    has_arn: bool
    texts: tuple[str | None, ...]


OF_FACE = ("source_ip", "user_agent", "vpc_endpoint", "auth")
OF_ASKED = ("api", "bucket", "destination", "region")
_AUTH = {"AuthHeader": "header", "QueryString": "query"}


def _face(actor: Actor) -> _Face:
    texts = (actor.address, actor.agent, actor.vpc_endpoint, _AUTH.get(actor.auth, "none"))
    return _Face(*_principal(msgspec.json.encode(actor.identity)), texts)


@lru_cache(maxsize=1 << 15)
def _principal(identity: bytes) -> tuple[Principal, int, bool]:
    principal, has_arn = named(identity)
    if principal is None:
        raise ValueError(f"an identity that is nobody: {identity!r}")
    return principal, print_of(principal), has_arn


@dataclass(slots=True)
class Batches:
    """Makes batches of what was asked for.

    homes: bucket → account and region its log files come from. columns: as for a parser.
    """

    seed: int
    homes: Callable[[str], Partition]
    columns: frozenset[str] = COLUMNS
    delivery: Delivery = S3
    _faces: dict[int, _Face] = field(default_factory=dict)

    def arrivals(self, days: Iterable[Sequence[Asked]]) -> Iterator[Arrival]:
        """The batches of these days, each a list of its requests, in order of delivery."""
        waiting: list[Arrival] = []
        for number, asked in enumerate(days):
            table = _Table(asked, self, np.random.default_rng((self.seed, number, 77)))
            held, waiting = waiting, []
            last = table.last // 86_400 * 86_400 + 86_400
            for arrival in merge(held, table.arrivals(), key=lambda arrival: arrival.at):
                if arrival.at > last:
                    waiting.append(arrival)
                else:
                    yield arrival
        yield from sorted(waiting, key=lambda arrival: arrival.at)

    def face(self, key: int, who: Who) -> _Face:
        """What a principal looks like in a turn; `key` is both as one number."""
        face = self._faces.get(key)
        if face is None:
            if len(self._faces) > 200_000:
                self._faces.clear()
            face = self._faces[key] = _face(who.of(key & (1 << 48) - 1))
        return face


class _Table:
    """One day's requests as columns, and the tables that their codes point into."""

    def __init__(self, asked: Sequence[Asked], make: Batches, rng: np.random.Generator) -> None:
        self._asked, self._make = [one for one in asked if len(one.times)], make
        lengths = [len(one.times) for one in self._asked]
        self._of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        self._time = _joined([one.times for one in self._asked])
        self._places = list(dict.fromkeys(one.place for one in self._asked if not APIS[one.api].lists))
        codes = {place: code for code, place in enumerate(self._places)}
        at = np.array([codes.get(one.place, -1) if not APIS[one.api].lists else -1 for one in self._asked], np.int64)
        place = at[self._of] if lengths else np.zeros(0, np.int64)
        self._key = np.where(place < 0, -1, place << NUMBERS | _joined([one.numbers for one in self._asked]))
        who = np.array([one.who.number for one in self._asked], np.int64)
        acting = (who[self._of] << 48 if lengths else place) | _joined([one.turns for one in self._asked])
        self._actors, self._actor = np.unique(acting, return_inverse=True)
        self._who = {one.who.number: one.who for one in self._asked}
        self._id = rng.integers(1, 1 << 63, len(self._time)).astype(np.uint64)
        self._due = make.delivery.due(self._time, rng)
        self._rng = rng
        self._tables()

    @property
    def last(self) -> int:
        """The last second of the day's requests."""
        return int(self._time.max(initial=0))

    def _tables(self) -> None:
        """What is the same for all requests of an `Asked`."""
        asked = self._asked
        homes = [self._make.homes(one.destination or one.place.bucket) for one in asked]
        self._operation = np.array([classify(one.api) for one in asked], np.int8)
        self._outcome = np.array([outcome(one.error) for one in asked], np.int8)
        self._listed = np.array(
            [object_bytes(one.place.prefix) if APIS[one.api].lists and not one.error else 0 for one in asked], np.int64
        )
        self._sent = np.array([APIS[one.api].bytes_out and not one.error for one in asked], np.bool_)
        self._partition = Column.of([f"{home.account}/{home.region}" for home in homes])
        self._text = {
            "api": Column.of([one.api for one in asked]),
            "bucket": Column.of([one.place.bucket for one in asked]),
            "destination": Column.of([one.destination for one in asked]),
            "region": Column.of([home.region for home in homes]),
        }

    def arrivals(self) -> Iterator[Arrival]:
        """The batches, copies of some records among them."""
        again = np.flatnonzero(self._rng.random(len(self._time)) < DUPLICATE_SHARE)
        rows = np.concatenate([np.arange(len(self._time)), again])
        due = np.concatenate([self._due, self._due[again] + self._make.delivery.tick * (again % 2)])
        shuffled = self._rng.permutation(len(due))
        slot = due[shuffled] // self._make.delivery.tick - self._time.min(initial=0) // self._make.delivery.tick
        order = shuffled[np.argsort(slot.astype(np.int16), kind="stable")]  # of 16 bits: by radix, in linear time
        rows, due = rows[order], due[order]
        starts = np.flatnonzero(np.diff(due, prepend=-1))
        for begin, end in pairwise([*starts.tolist(), len(due)]):
            yield Arrival(int(due[begin]), self._batch(rows[begin:end]))

    def _batch(self, rows: I64) -> AccessBatch:
        of, time = self._of[rows].astype(np.intp), self._time[rows]
        operation, result = self._operation[of], self._outcome[of]
        key, sizes = self._keys(rows)
        who, has_arn, principals, prints, of_face = self._people(rows)
        text = {name: column.take(of) for name, column in self._text.items()} | of_face | {"key": key}
        nothing = Column.null(len(rows))
        sent = np.where(self._sent[of], sizes + self._listed[of], np.where(result != 0, ERROR_BODY_BYTES, 0))
        columns = self._make.columns
        return AccessBatch(
            time=time,
            id=self._id[rows],
            link=np.zeros(len(rows), np.uint64),
            skip=np.zeros(len(rows), np.int8),
            log=np.full(len(rows), Log.cloudtrail, np.int8),
            operation=operation,
            outcome=result,
            bytes=sent if "bytes" in columns else np.zeros(len(rows), np.int64),
            who=who,
            has_arn=has_arn,
            unresolved=unresolved(operation, text["bucket"].codes < 0, key.codes >= 0),
            principals=principals,
            prints=prints,
            partition=self._partition.take(of),
            text={name: text.get(name, nothing) for name in columns if name in TEXTS},
            number={name: np.full(len(rows), -1, np.int64) for name in columns if name in NUMBERS_OF},
        )

    def _keys(self, rows: I64) -> tuple[Column, I64]:
        """The keys of these rows, and the sizes of their objects."""
        distinct, codes = np.unique(self._key[rows], return_inverse=True)
        nowhere = int(len(distinct) and distinct[0] < 0)
        place, number = distinct[nowhere:] >> NUMBERS, distinct[nowhere:] & (1 << NUMBERS) - 1
        edges = [*np.flatnonzero(np.diff(place, prepend=-1)).tolist(), len(place)]
        texts: list[str] = []
        for first, end in pairwise(edges):
            texts += self._places[place[first]].keys(number[first:end].tolist())
        sizes = np.zeros(len(distinct), np.int64)
        if "bytes" in self._make.columns:
            sizes[nowhere:] = object_sizes(texts)
        return Column((codes - nowhere).astype(np.int32), texts), sizes[codes]

    def _people(self, rows: I64) -> tuple[I32, Mask, Principals, U64, dict[str, Column]]:
        """Who asked, and what of the columns depends on it."""
        actors, acting = np.unique(self._actor[rows], return_inverse=True)
        faces = [self._make.face(key, self._who[key >> 48]) for key in self._actors[actors].tolist()]
        codes = {print_: code for code, print_ in enumerate(dict.fromkeys(face.print for face in faces))}
        people = {face.print: face.principal for face in faces}
        who = np.array([codes[face.print] for face in faces], np.int32)[acting]
        has_arn = np.array([face.has_arn for face in faces], np.bool_)[acting]
        texts = {name: Column.of([face.texts[i] for face in faces]).take(acting) for i, name in enumerate(OF_FACE)}
        return who, has_arn, Principals([people[one] for one in codes]), np.fromiter(codes, np.uint64), texts


TEXTS = COLUMNS - {"bytes", "partition", "status", "signed_at", "signed_for"}
NUMBERS_OF = frozenset({"status", "signed_at", "signed_for"})


def _joined(arrays: Sequence[I64]) -> I64:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
