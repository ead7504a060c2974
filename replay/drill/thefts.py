"""Kinds of theft, each a plug-in: what a thief asks for, and the label that says so. Pure.

Rules of this file
- A kind is a function from a `Scene` (whose credentials, which objects) and a time to the requests it makes; `@kind`
  enters it in `KINDS`. It works on a generated organisation and on what is seen in real logs alike.
- The label is made of the requests themselves, so that it cannot be wrong.
- A thief comes from an address nobody has seen, unless the kind says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detector.core.access import I64
from detector.core.finding import Finding
from detector.core.groupings import IDENTITY, SHOWN
from detector.core.net import net_of_ip
from detector.errors import InputError
from detector.logs.identity import named
from replay.drill.calls import Actor, Identity, Record, Role
from replay.drill.traffic import Asked, Place, Who, turns

HOUR, DAY = 3600, 86_400
PANE = 300
AGENT = "rclone/v1.69.1"
AFTERGLOW = DAY
"""For so long after its end a theft explains a page about its identities: windows of a day still hold it."""


class Victim(NamedTuple):
    """Somebody whose credentials could be stolen. daily: objects it reads in a day of work. group: of its peers."""

    who: Who
    group: str
    places: tuple[Place, ...]
    daily: float


@dataclass(frozen=True, slots=True)
class Scene:
    """What a thief finds. stock: every place with objects worth stealing, and how many there are.

    networks: prefixes of addresses (`81.2.3.`) that are seen in the organisation. account: whose bucket it is.
    """

    victims: tuple[Victim, ...]
    stock: dict[Place, int]
    account: str
    rng: np.random.Generator
    taken: set[int]

    def victim(self, *groups: str) -> Victim:
        """Somebody of these groups who was not robbed yet; of any group, if there is nobody left in them."""
        free = [one for one in self.victims if one.who.number not in self.taken and one.daily > 0] or list(self.victims)
        if not free:
            raise InputError("nobody reads objects in these logs, so there are no credentials to steal")
        wanted = [one for one in free if any(one.group.startswith(group) for group in groups)] or free
        chosen = wanted[self.rng.integers(len(wanted))]
        self.taken.add(chosen.who.number)
        return chosen

    def others(self, victim: Victim, count: int) -> list[Place]:
        """So many places at most that are not the victim's, those in its own buckets first."""
        own = {place.bucket for place in victim.places}
        places = [place for place in self.stock if place not in victim.places] or list(self.stock)
        order = self.rng.permutation(len(places)).tolist()
        return sorted((places[i] for i in order), key=lambda place: place.bucket not in own)[:count]

    def number(self) -> int:
        """A number no principal has yet."""
        return int(self.rng.integers(20_000, 32_000))


Steal = Callable[[Scene, int], Iterator[Asked]]


class Kind(NamedTuple):
    """A kind of theft. steal: its requests, the first at about this epoch second. title: for people."""

    title: str
    steal: Steal


KINDS: dict[str, Kind] = {}


def kind(title: str) -> Callable[[Steal], Steal]:
    """Enter a function as a kind of theft, under its own name."""

    def enter(steal: Steal) -> Steal:
        KINDS[steal.__name__] = Kind(title, steal)
        return steal

    return enter


@dataclass(frozen=True)
class Theft:
    """A planted theft: what was asked for, and the label of it.

    names: every name under which a finding may speak of it: sessions, roles, networks, addresses, buckets, groups.
    moments: when each object left for the first time, in order; epoch seconds.
    """

    kind: str
    asked: tuple[Asked, ...]

    @cached_property
    def started_at(self) -> int:
        """Its first request."""
        return min(int(one.times.min()) for one in self.asked)

    @cached_property
    def ended_at(self) -> int:
        """Its last request."""
        return max(int(one.times.max()) for one in self.asked)

    @cached_property
    def moments(self) -> I64:
        """When each object left for the first time."""
        taking = [one for one in self.asked if one.error is None and one.api in ("GetObject", "CopyObject")]
        first: dict[tuple[Place, int], int] = {}
        for one in taking:
            for number, at in zip(one.numbers.tolist(), one.times.tolist(), strict=True):
                object_ = (one.place, number)
                first[object_] = min(at, first.get(object_, at))
        return np.sort(np.fromiter(first.values(), np.int64, len(first)))

    @property
    def objects(self) -> int:
        """Objects that left."""
        return len(self.moments)

    def lost(self, at: float) -> int:
        """Objects that had left by an epoch second."""
        return int(np.searchsorted(self.moments, at, "right"))

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name under which a finding may speak of it."""
        return frozenset(self._names())

    @cached_property
    def roles(self) -> frozenset[str]:
        """The roles and users whose credentials were used, as people are shown them."""
        every = (named(msgspec.json.encode(one.who.of(int(one.turns[0])).identity))[0] for one in self.asked)
        return frozenset(principal.role_shown for principal in every if principal is not None)

    def _names(self) -> Iterator[str]:
        for one in self.asked:
            yield from (one.place.bucket, one.destination or one.place.bucket)
            for turn in np.unique(one.turns).tolist():
                actor = one.who.of(turn)
                yield from (actor.address, net_of_ip(actor.address), actor.vpc_endpoint or actor.address)
                principal, _ = named(msgspec.json.encode(actor.identity))
                if principal is not None:
                    yield from (name(principal) for table in (IDENTITY, SHOWN) for name in table.values())

    def explains(self, finding: Finding) -> bool:
        """Whether a page is about this theft: it names something of it, in its time or in its afterglow."""
        in_time = self.started_at <= finding.opened_at <= self.ended_at + max(AFTERGLOW, finding.window_seconds)
        return in_time and not self.names.isdisjoint(finding.group.values())


def plant(name: str, scene: Scene, at: int) -> Theft:
    """A theft of this kind that begins at about this epoch second."""
    if name not in KINDS:
        raise InputError(f"no kind of theft is called '{name}'", remedy=f"take one of {', '.join(KINDS)}")
    return Theft(name, tuple(one for one in KINDS[name].steal(scene, at) if len(one.times)))


def _address(rng: np.random.Generator) -> str:
    """Where a thief comes from: nowhere that the organisation has ever been."""
    return f"26.{rng.integers(256)}.{rng.integers(256)}.{rng.integers(4, 250)}"


def _stolen(scene: Scene, victim: Victim, address: str | None = None) -> Who:
    """The victim's identity in a thief's hands."""
    seat = address or _address(scene.rng)

    def at(issued: int, _variant: int) -> Actor:
        return victim.who.at(issued, 0)._replace(address=seat, agent=AGENT, vpc_endpoint=None)

    return Who(scene.number(), at)


def _evenly(scene: Scene, at: int, count: int, per_second: float) -> I64:
    """Seconds of so many events at about this pace."""
    times: I64 = np.sort(at + scene.rng.integers(0, max(1, int(count / per_second)), count))
    return times


def _hourly(times: I64) -> I64:
    return turns(times // HOUR * HOUR)


def _take(
    scene: Scene, who: Who, places: Sequence[Place], times: I64, turn: I64, api: str = "GetObject", **more: Any
) -> Iterator[Asked]:
    """One object a second of `times`, place after place as listed, each object once as long as there are any."""
    sizes = np.array([scene.stock.get(place, 1000) for place in places])
    ends = np.cumsum(sizes)
    number = np.arange(len(times)) % ends[-1]
    which = np.searchsorted(ends, number, "right")
    for code, place in enumerate(places):
        rows = np.flatnonzero(which == code)
        if len(rows):
            numbers = number[rows] - (ends[code] - sizes[code])
            yield Asked(who, api, place, numbers, times[rows], turn[rows], **{"listed": True} | more)


def _listed(who: Who, places: Iterable[Place], at: int) -> Iterator[Asked]:
    """A thief looks before he takes."""
    now = np.array([at], np.int64)
    for place in places:
        yield Asked(who, "ListObjects", place, now * 0, now, _hourly(now))


def _between(scene: Scene, least: float, most: float) -> int:
    return int(scene.rng.integers(int(least), int(most) + 1))


PERSONS = ("contractor", "analyst", "scientist", "agency")


@kind("smash and grab: 20,000 objects at 45 to 70 a second")
def smash_and_grab(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim(*PERSONS)
    who, places = _stolen(scene, victim), scene.others(victim, 12)
    yield from _listed(who, places, at)
    times = _evenly(scene, at, 20_000, scene.rng.uniform(45, 70))
    yield from _take(scene, who, places, times, _hourly(times * 0 + at))


@kind("the same, kept under 10,000 in five minutes")
def under_the_rule(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim(*PERSONS)
    who, places = _stolen(scene, victim), scene.others(victim, 12)
    times = _evenly(scene, at, _between(scene, 6_000, 20_000), scene.rng.uniform(20, 31))
    yield from _take(scene, who, places, times, _hourly(times * 0 + at))


@kind("drip round the clock: 12 to 60 objects in five minutes")
def drip(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim(*PERSONS)
    pace = scene.rng.uniform(12, 60) / PANE
    times = _evenly(scene, at, int(_between(scene, 24, 72) * HOUR * pace), pace)
    yield from _take(scene, _stolen(scene, victim), scene.others(victim, 8), times, _hourly(times))


@kind("drip in work hours, in one plausible prefix, from the victim's own network")
def office_drip(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim(*PERSONS)
    days = [at // DAY * DAY + day * DAY for day in range(7) if (at // DAY + day + 3) % 7 < 5][:3]
    times = np.concatenate([_evenly(scene, day + 9 * HOUR, _between(scene, 900, 2_500), 0.07) for day in days])
    times = np.sort(times[times % DAY < 17 * HOUR])
    near = [place for place in scene.others(victim, 40) if place.bucket in {one.bucket for one in victim.places}]
    yield from _take(scene, victim.who, near[:1] or scene.others(victim, 1), times, _signed_in(times))


@kind("session rotation: the role assumed anew every 15 minutes under another name")
def session_rotation(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim("thumbnail", "ci", "web", "contractor", "analyst")
    seat = _address(scene.rng)

    def renamed(issued: int, _variant: int) -> Actor:
        actor = victim.who.at(issued, 0)
        return actor._replace(identity=_session_named(actor.identity, f"s{issued % DAY}"), address=seat, agent=AGENT,
                              vpc_endpoint=None)  # fmt: skip

    times = _evenly(scene, at, _between(scene, 10_000, 30_000), scene.rng.uniform(3, 8))
    yield from _take(scene, Who(scene.number(), renamed), scene.others(victim, 12), times, turns(times // 900 * 900))


def _session_named(identity: Identity, name: str) -> Record:
    """The identity of a session of the same role under another name; what is no session stays as it is."""
    made = dict(identity)
    if made.get("type") == "AssumedRole":
        made["principalId"] = f"{made['principalId'].partition(':')[0]}:{name}"
        made["arn"] = f"{made['arn'].rpartition('/')[0]}/{name}"
    return made


@kind("fan-out: a little with each of many people's credentials, from one network")
def fan_out(scene: Scene, at: int) -> Iterator[Asked]:
    net = _address(scene.rng).rpartition(".")[0]
    for number in range(_between(scene, 8, 16)):
        victim = scene.victim("contractor", "agency")
        who = _stolen(scene, victim, f"{net}.{10 + number}")
        times = _evenly(scene, at + _between(scene, 0, 120), _between(scene, 250, 500), 0.5)
        yield from _take(scene, who, scene.others(victim, 2), times, _hourly(times))


@kind("copy-out: copies into a bucket that nobody has ever written to")
def copy_out(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim("scientist", "analyst", "contractor", "ci")
    times = _evenly(scene, at, _between(scene, 3_000, 8_000), scene.rng.uniform(8, 20))
    away = f"{('nimbus', 'atlas', 'orbit', 'delta')[_between(scene, 0, 3)]}-assets-{_between(scene, 10_000, 99_999)}"
    yield from _take(
        scene, _stolen(scene, victim), scene.others(victim, 6), times, _hourly(times), "CopyObject", destination=away
    )


@kind("leaked signed URLs: everybody fetches with one program's signature")
def presigned_leak(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim("web", "thumbnail", "ci")
    rng = scene.rng
    seats = [_address(rng) for _ in range(_between(scene, 40, 300))]

    def at_seat(issued: int, variant: int) -> Actor:
        return victim.who.at(issued, 0)._replace(
            address=seats[variant % len(seats)], agent="Wget/1.24.5", vpc_endpoint=None, auth="QueryString"
        )

    times = _evenly(scene, at, _between(scene, 2_000, 8_000), scene.rng.uniform(0.3, 1.5))
    turn = turns(np.full(len(times), at // HOUR * HOUR), rng.integers(0, len(seats), len(times)))
    places = victim.places[:1] or scene.others(victim, 1)
    yield from _take(scene, Who(scene.number(), at_seat), places, times, turn, listed=False)


@kind("insider: others' prefixes, at his usual volume, from his own desk")
def insider(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim("analyst", "scientist", "contractor")
    begin = at // DAY * DAY + 9 * HOUR
    times = _evenly(scene, begin, max(60, min(1_500, int(victim.daily))), max(60.0, victim.daily) / (8 * HOUR))
    yield from _take(scene, victim.who, scene.others(victim, 6)[-4:], times, _signed_in(times))


@kind("hidden inside a training run: other objects among the epoch's re-reads, from the run's own network")
def hidden_in_training(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim("trainer", "spot-trainer", "batch")
    times = _evenly(scene, at, _between(scene, 3_000, 9_000), scene.rng.uniform(3, 8))
    yield from _take(scene, victim.who, scene.others(victim, 6), times, _hourly(times))


@kind("enumeration: keys guessed for an hour, one in twenty found")
def enumeration(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim("ci", "thumbnail", "contractor", "analyst")
    who, places = _stolen(scene, victim), scene.others(victim, 3)
    times = _evenly(scene, at, _between(scene, 4_000, 12_000), scene.rng.uniform(1.5, 4))
    chance = scene.rng.random(len(times))
    for error, rows in (
        ("NoSuchKey", chance < 0.6), ("AccessDenied", (chance >= 0.6) & (chance < 0.95)), (None, chance >= 0.95),
    ):  # fmt: skip
        numbers = np.flatnonzero(rows) + (9_000_000 if error else 0)
        yield Asked(who, "GetObject", places[0], numbers, times[rows], _hourly(times[rows]), error)


@kind("a never-seen identity: a role made for the theft")
def new_identity(scene: Scene, at: int) -> Iterator[Asked]:
    role = Role(scene.account, "/", f"svc-{('helper', 'sync', 'audit', 'export')[_between(scene, 0, 3)]}-tmp")
    seat = _address(scene.rng)
    who = Who(scene.number(), lambda issued, _: Actor(role.session("session", issued), seat, AGENT))
    victim = scene.victim(*PERSONS)
    times = _evenly(scene, at, _between(scene, 3_000, 9_000), scene.rng.uniform(4, 12))
    yield from _take(scene, who, scene.others(victim, 8), times, _hourly(times))


@kind("restore: archived objects brought back, then taken")
def restore(scene: Scene, at: int) -> Iterator[Asked]:
    victim = scene.victim("scientist", "analyst", "contractor")
    who, places = _stolen(scene, victim), scene.others(victim, 3)
    times = _evenly(scene, at, _between(scene, 1_500, 4_000), scene.rng.uniform(2, 6))
    yield from _take(scene, who, places, times, _hourly(times), "RestoreObject")
    later = times + 5 * HOUR
    yield from _take(scene, who, places, later, _hourly(later))


def _signed_in(times: I64) -> I64:
    return turns(times // DAY * DAY + 7 * HOUR + 900)
