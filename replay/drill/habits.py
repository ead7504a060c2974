"""What members of a generated organisation do in a day: one function a kind of member. Pure.

A habit gives the requests of one member on one day, drawn with a generator of that day and member alone. Together the
habits are the benign look-alikes of theft: whoever reads much, all at once, for the first time, from many networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detector.core.access import I64
from replay.drill.people import DAY, Identity
from replay.drill.traffic import Asked, Place, Who, turns

HOUR = 3600
PANE = 300
JUST_UNDER = 9_969 / PANE
"""Objects a second: what the nightly ETL reads stays just under 10,000 in five minutes."""


@dataclass(frozen=True, slots=True)
class Company:
    """What all members share: the places of every team, by what they are for."""

    raw: tuple[Place, ...]
    datasets: tuple[Place, ...]
    tables: tuple[Place, ...]
    models: tuple[Place, ...]
    layers: Place
    builds: Place
    logs: Place
    public: Place
    secret: Place
    started: int
    per_day: int

    def old(self, midnight: int) -> int:
        """How many recordings each raw place has at the beginning of a day: it grows by `per_day`."""
        return 40_000 + (midnight - self.started) // DAY * self.per_day


@dataclass(frozen=True, slots=True)
class Member:
    """One principal of the organisation. `places`: where its work lies. since: epoch second of its first day."""

    who: Who
    group: str
    habit: Callable[[Member, Day], Iterator[Asked]]
    places: tuple[Place, ...]
    activity: float = 1.0
    since: int = 0
    shift: int = 0
    first: int = 0
    identity: Identity | None = None
    others: tuple[Who, ...] = field(default=(), compare=False)


class Day(NamedTuple):
    """A UTC day, the member's chance that rules it, and what all share."""

    midnight: int
    rng: np.random.Generator
    company: Company

    @property
    def number(self) -> int:
        """Days since the organisation began."""
        return (self.midnight - self.company.started) // DAY

    @property
    def works(self) -> bool:
        """Whether it is no weekend."""
        return (self.midnight // DAY + 3) % 7 < 5

    def at_work(self, mean: float, shift: int = 0) -> I64:
        """Seconds of about so many events of a person: 8 to 17:30, less at noon; hardly any on a weekend."""
        count = self.rng.poisson(mean if self.works else mean * 0.02)
        hours = self.rng.choice(19, count, p=_BUSY)
        return np.sort(self.midnight + 8 * HOUR + shift + hours * 1800 + self.rng.integers(0, 1800, count))

    def all_day(self, mean: float) -> I64:
        """Seconds of about so many events of a program that people use: half as many at night and on weekends."""
        count = self.rng.poisson(mean if self.works else mean * 0.6)
        hours = self.rng.choice(24, count, p=_USED)
        return np.sort(self.midnight + hours * HOUR + self.rng.integers(0, HOUR, count))

    def paced(self, begin: float, per_second: float, total: int) -> I64:
        """Seconds of so many events at an even pace from second `begin` of the day on, until midnight at most."""
        times = self.midnight + (begin + np.arange(total) / per_second).astype(np.int64)
        return times[times < self.midnight + DAY]

    def chance(self, share: float) -> bool:
        """Whether something that happens on this share of days happens today."""
        return bool(self.rng.random() < share)

    def signed_in(self, times: I64) -> I64:
        """A person's turns: one session a day."""
        return turns(np.full(len(times), self.midnight + 7 * HOUR + int(self.rng.integers(0, 3000))))


_BUSY = np.array([0.6, 1, 1, 1, 1, 1, 1, 0.8, 0.3, 0.3, 0.8, 1, 1, 1, 1, 1, 0.9, 0.7, 0.4])
_BUSY /= _BUSY.sum()
_USED = np.array([3, 2, 2, 2, 2, 3, 4, 6, 8, 9, 9, 9, 8, 9, 9, 9, 9, 8, 7, 6, 6, 5, 4, 3], float)
_USED /= _USED.sum()


def hourly(times: I64, variant: I64 | int = 0) -> I64:
    """A machine's turns: new credentials every hour."""
    return turns(times // HOUR * HOUR, variant)


def _reads(who: Who, place: Place, numbers: I64, times: I64, turn: I64, *, listed: bool = False) -> Asked:
    return Asked(who, "GetObject", place, np.asarray(numbers, np.int64), times, turn, listed=listed)


def _stores(who: Who, place: Place, first: int, times: I64, turn: I64) -> Asked:
    return Asked(who, "PutObject", place, first + np.arange(len(times)), times, turn)


def _refused(who: Who, place: Place, numbers: I64, times: I64, turn: I64) -> Asked:
    return Asked(who, "GetObject", place, numbers, times, turn, "AccessDenied")


def contractor(me: Member, day: Day) -> Iterator[Asked]:
    """Hears the recordings assigned to it in order, some again, hands in transcripts; now and then a new laptop."""
    heard = day.at_work(220 * me.activity, me.shift)
    turn = day.signed_in(heard)
    own, done = me.places[0], int(day.number * 200 * me.activity)
    numbers = me.first + done + np.arange(len(heard)) * 9 // 10
    again = day.rng.random(len(heard)) < 0.08
    numbers[again] = me.first + day.rng.integers(0, done + 50, int(again.sum()))
    yield _reads(me.who, own, numbers, heard, turn)
    yield Asked(me.who, "ListObjects", own, np.zeros(len(heard[::40]), np.int64), heard[::40], turn[::40])
    yield Asked(me.who, "PutObject", me.places[-1], numbers[::5], heard[::5], turn[::5])
    if day.works and day.chance(0.02):
        whole = day.paced(day.rng.uniform(8, 16) * HOUR, day.rng.uniform(3, 12), 300 + done)
        yield _reads(me.who, own, me.first + np.arange(len(whole)), whole, day.signed_in(whole))


def analyst(me: Member, day: Day) -> Iterator[Asked]:
    """Queries tables through Athena, looks at samples, is refused at times, and pulls a dataset's part once a month."""
    queried, looked = day.at_work(240 * me.activity, me.shift), day.at_work(50 * me.activity, me.shift)
    athena, turn = me.others[0], day.signed_in(looked)
    table = me.places[0]
    parts = day.rng.integers(0, 400 + 8 * day.number, len(queried))
    yield _reads(athena, table, parts, queried, day.signed_in(queried))
    which = day.rng.integers(0, 1 + min(2, len(me.places) - 1), len(looked))
    for code, place in enumerate(me.places[:3]):
        rows = which == code
        yield _reads(me.who, place, day.rng.integers(0, 3_000, int(rows.sum())), looked[rows], turn[rows])
    yield Asked(me.who, "HeadObject", table, day.rng.integers(0, 400, len(looked[::3])), looked[::3], turn[::3])
    denied = day.at_work(0.6, me.shift)
    yield _refused(me.who, day.company.secret, np.arange(len(denied)), denied, day.signed_in(denied))
    if day.works and day.chance(0.035):
        pulled = day.paced(day.rng.uniform(9, 16) * HOUR, day.rng.uniform(2, 8), int(day.rng.integers(1_000, 3_500)))
        place, first = me.places[day.rng.integers(len(me.places))], int(day.rng.integers(0, 30_000))
        yield _reads(me.who, place, first + np.arange(len(pulled)), pulled, day.signed_in(pulled), listed=True)


def scientist(me: Member, day: Day) -> Iterator[Asked]:
    """Notebooks: a sample of a dataset every few days, the same files again and again, a model's parts."""
    looked = day.at_work(150 * me.activity, me.shift)
    turn = day.signed_in(looked)
    place = me.places[int(day.rng.integers(0, 2)) % len(me.places)]
    base = me.first + day.number // 3 * 500
    yield _reads(me.who, place, base + day.rng.integers(0, 600, len(looked)), looked, turn)
    yield Asked(me.who, "ListObjects", place, np.zeros(len(looked[::20]), np.int64), looked[::20], turn[::20])
    if day.works and day.chance(0.25):
        count = int(day.rng.lognormal(6.3, 0.7))
        pulled = day.paced(day.rng.uniform(9, 17) * HOUR, day.rng.uniform(5, 20), min(count, 5_000))
        chosen = me.places[day.rng.integers(len(me.places))]
        numbers = day.rng.integers(0, 60_000, len(pulled))
        yield _reads(me.who, chosen, numbers, pulled, day.signed_in(pulled))
    missing = day.at_work(2, me.shift)
    nowhere = 9_000_000 + np.arange(len(missing))
    yield Asked(me.who, "HeadObject", place, nowhere, missing, day.signed_in(missing), "NoSuchKey")


def trainer(me: Member, day: Day) -> Iterator[Asked]:
    """Epochs over one corpus, shuffled anew each, a validation set after each; another corpus every week or so."""
    if not day.chance(0.8):
        return
    # The corpus is switched on a day that depends on the member alone, so that days need not know each other.
    version = (day.number + me.first % 9) // 9
    size = 1_500 + (me.first * 7919 + version * 104_729) % 9_000
    corpus, base = me.places[version % len(me.places)], (me.first * 31 + version * 17_001) % 40_000
    epochs, rate = int(day.rng.integers(2, 5)), float(day.rng.uniform(8, 30))
    shuffled = np.concatenate([day.rng.permutation(size) for _ in range(epochs)])
    times = day.paced(day.rng.uniform(0, 20) * HOUR, rate, len(shuffled))
    nodes = day.rng.integers(0, 8, len(times)) + day.number * 8 if "spot" in me.group else 0
    yield _reads(me.who, corpus, base + shuffled[: len(times)], times, hourly(times, nodes))
    checked = times[size - 1 :: size]
    for end in checked.tolist():
        validated = end + np.arange(400) // 10
        turn = hourly(validated, nodes if isinstance(nodes, int) else int(day.number * 8))
        yield _reads(me.who, me.places[-1], 90_000 + np.arange(400), validated, turn)


def nightly(me: Member, day: Day) -> Iterator[Asked]:
    """ETL: every recording of the day before once, just under 10,000 in five minutes; shards of a dataset written."""
    begin = (1 + me.first % 4) * HOUR
    for number, place in enumerate(place for place in me.places if "-raw" in place.bucket):
        new = day.company.old(day.midnight) - day.company.per_day
        times = day.paced(begin + number * day.company.per_day / JUST_UNDER, JUST_UNDER, day.company.per_day)
        yield _reads(me.who, place, new + np.arange(len(times)), times, hourly(times))
        yield _stores(me.who, me.places[-1], new, times[::40], hourly(times[::40]))


def glue(me: Member, day: Day) -> Iterator[Asked]:
    """A job every hour, through an AWS service, over the newest parts of a few tables."""
    for hour in range(24):
        count = int(day.rng.poisson(60 * me.activity))
        times = np.sort(day.midnight + hour * HOUR + me.shift % 1800 + day.rng.integers(0, 400, count))
        newest = 300 + day.number * 24 + hour
        place = me.places[hour % len(me.places)]
        yield _reads(me.who, place, newest - day.rng.integers(0, 30, count), times, hourly(times))
        yield _stores(me.who, place, newest, times[::30], hourly(times[::30]))


def web(me: Member, day: Day) -> Iterator[Asked]:
    """A program behind an application: whatever its users ask for, old and new, day and night."""
    times = day.all_day(3_500 * me.activity)
    place = me.places[0]
    zipf = (day.rng.pareto(0.7, len(times)) * 40).astype(np.int64)
    numbers = (zipf * 7919 + me.first) % day.company.old(day.midnight)
    clients = day.rng.integers(0, 24, len(times)) * 97 + day.rng.integers(0, 5, len(times)) if me.others else 0
    yield _reads(me.others[0] if me.others else me.who, place, numbers, times, hourly(times, clients))
    if day.chance(0.04):
        storm = day.paced(day.rng.uniform(6, 18) * HOUR, 0.6, int(day.rng.integers(1_500, 5_000)))
        denied = day.rng.integers(0, 2_000, len(storm))
        yield _refused(me.who, day.company.secret, denied, storm, hourly(storm))


def function(me: Member, day: Day) -> Iterator[Asked]:
    """One call of a function for every new upload: hundreds of environments, each with an address of its own."""
    times = day.all_day(1_600 * me.activity)
    base = day.company.old(day.midnight) + me.first % 1000 * 3_000
    environments = day.rng.integers(0, 1 + min(120, len(times) // 12), len(times))
    yield _reads(me.who, me.places[0], base + np.arange(len(times)), times, hourly(times, environments))
    yield _stores(me.who, me.places[-1], base, times[::2], hourly(times[::2], environments[::2]))


def build(me: Member, day: Day) -> Iterator[Asked]:
    """CI: layers, most of them seen before, artefacts stored, and a call its policy forgot."""
    for start in np.sort(day.rng.integers(0, DAY, day.rng.poisson(18 * me.activity))).tolist():
        times = day.midnight + start + np.sort(day.rng.integers(0, 120, 45))
        times = times[times < day.midnight + DAY]
        turn = hourly(times)
        layers = me.first * 60 + day.rng.integers(0, 60, len(times)) + day.number
        yield _reads(me.who, day.company.layers, layers, times, turn)
        yield _stores(me.who, day.company.builds, start * 10, times[::9], turn[::9])
        yield _refused(me.who, day.company.secret, np.zeros(len(times[:1]), np.int64), times[:1], turn[:1])


def batch(me: Member, day: Day) -> Iterator[Asked]:
    """Batch and EMR jobs on spot nodes, each with a session and an address of its own; some days a large one."""
    for _ in range(int(day.rng.poisson(1.2))):
        count = int(min(12_000, day.rng.lognormal(7.6, 0.8)))
        times = day.paced(day.rng.uniform(0, 22) * HOUR, day.rng.uniform(4, 25), count)
        nodes = day.rng.integers(0, 12, len(times)) + int(day.rng.integers(0, 1000)) * 12
        numbers = int(day.rng.integers(0, 20)) * 2_000 + np.arange(len(times))
        place = me.places[day.rng.integers(len(me.places))]
        yield _reads(me.who, place, numbers, times, hourly(times, nodes))


def onprem(me: Member, day: Day) -> Iterator[Asked]:
    """A user's old script on a server of ours: fetches every night what came the day before."""
    count = int(day.rng.integers(800, 1_600) * me.activity)
    times = day.paced(3 * HOUR + me.shift, 5, count)
    turn = turns(np.zeros(len(times), np.int64))
    yield Asked(me.who, "ListObjects", me.places[0], np.zeros(3, np.int64), times[:3], turn[:3])
    yield _reads(me.who, me.places[0], day.number * 1_600 + np.arange(len(times)), times, turn)


def backup(me: Member, day: Day) -> Iterator[Asked]:
    """AWS Backup: everything that changed, one object after the other."""
    for number, place in enumerate(me.places):
        times = day.paced(4 * HOUR + number * 2_000, 4, 6_000)
        yield _reads(me.who, place, day.number * 6_000 + np.arange(len(times)), times, hourly(times))


def macie(me: Member, day: Day) -> Iterator[Asked]:
    """A weekly look into everything, at 7 objects a second."""
    if day.number % 7 == me.first % 7:
        for number, place in enumerate(me.places):
            times = day.paced(8 * HOUR + number * 3_000, 7, 20_000)
            yield _reads(me.who, place, np.arange(len(times)) + day.number * 2_000, times, hourly(times))


def replication(me: Member, day: Day) -> Iterator[Asked]:
    """Every new object, minutes after it came."""
    for place in me.places:
        times = day.all_day(2_500)
        yield _reads(me.who, place, day.company.old(day.midnight) + np.arange(len(times)), times, hourly(times))


def delivery(me: Member, day: Day) -> Iterator[Asked]:
    """AWS delivering logs, day and night."""
    times = day.all_day(4_000)
    yield _stores(me.who, me.places[0], day.number * 100_000, times, turns(times * 0))


def edge(me: Member, day: Day) -> Iterator[Asked]:
    """CloudFront: one identity for the whole world's visitors."""
    times = day.all_day(20_000)
    numbers = (day.rng.pareto(0.9, len(times)) * 30).astype(np.int64) % 60_000
    yield _reads(me.who, me.places[0], numbers, times, turns(times * 0))


def partner(me: Member, day: Day) -> Iterator[Asked]:
    """Another company's job that fetches the latest samples every hour."""
    for hour in range(24):
        times = day.paced(hour * HOUR + 1_200, 2, 120)
        numbers = (day.number * 24 + hour) * 120 + np.arange(len(times))
        yield _reads(me.who, me.places[0], numbers, times, turns(times * 0))
