"""A small organisation's day of S3 access as CloudTrail would deliver it, with a theft in it if one is asked for. Pure.

Rules of this file
- The same arguments give the same bytes. Every 5-minute slot has a random generator of its own, so `files()` may be
  walked as often as one likes and holds no more than a few slots in memory.
- Times are epoch seconds, UTC. Nobody but a thief reads 10,000 distinct objects in 5 minutes in one session; the
  nightly ETL comes close, the trainer passes 10,000 requests, over and over on the same objects.
- A kind of member is one function from a slot to the calls it makes there; `_members` says who there is.
- A theft is asked for by its label: what is planted is made from the `Theft`, so that the label cannot be wrong.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial

import numpy as np

from detector.core.access import I64
from detector.errors import InputError
from replay.drill.calls import (
    DATA_ACCOUNT,
    PARTNER_ACCOUNT,
    SLOT,
    TOOLS_ACCOUNT,
    Actor,
    Calls,
    Delivery,
    LogFile,
    Record,
    Role,
    records,
    token,
    write,
)

__all__ = ["LogFile", "Organisation", "Record", "Theft", "burst", "smash_and_grab", "write"]

DAY = 86_400
HOUR = 3_600
FEWEST_PRINCIPALS = 12
WORKING_DAY = 12 * HOUR

CONTRACTOR_ROLES = (
    Role(DATA_ACCOUNT, "/vendors/", "ContractorDataReader"),
    Role(DATA_ACCOUNT, "/vendors/", "ContractorTranscriber"),
)
ANALYST_ROLE = Role(
    DATA_ACCOUNT, "/aws-reserved/sso.amazonaws.com/us-east-1/", "AWSReservedSSO_DataAnalyst_4f6c1d2a9be03857"
)
BACKUP_ROLE = Role(DATA_ACCOUNT, "/service-role/", "AWSBackupDefaultServiceRole")
CLI = "aws-cli/2.27.12 md/awscrt#0.26.1 ua/2.1 os/linux md/arch#x86_64 lang/python#3.13.3"
BOTO = "Boto3/1.38.6 md/Botocore#1.38.6 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11.12"
STOLEN_AGENT = "rclone/v1.69.1"
# Addresses are invented but global: Python's ipaddress counts the ranges for documentation as private, and private
# addresses are never a new network.
STOLEN_ADDRESS = "26.77.3.41"


@dataclass(frozen=True)
class Theft:
    """The label of what was planted: `objects` distinct objects were read by this session and no other object by it,
    at `started_at` and in the `seconds` from then on. `session` and `role` are ARNs.
    """

    kind: str
    session: str
    role: str
    principal_id: str
    access_key: str
    started_at: int
    seconds: int
    objects: int


@dataclass(frozen=True)
class Slot:
    """Five minutes of a day, and the chance that rules them."""

    midnight: int
    start: int
    rng: np.random.Generator

    @property
    def number(self) -> int:
        return (self.start - self.midnight) // SLOT

    def some(self, mean: float) -> I64:
        """Seconds of about so many events, without a rhythm."""
        return np.sort(self.start + self.rng.integers(0, SLOT, self.rng.poisson(mean)))

    def paced(self, begin: int, per_minute: int, total: int) -> tuple[I64, I64]:
        """Numbers and seconds of those events in the slot that began at second `begin` of the day at an even pace."""
        since = self.start - self.midnight - begin
        first, last = (min(total, max(0, -(-seconds * per_minute // 60))) for seconds in (since, since + SLOT))
        numbers = np.arange(first, last, dtype=np.int64)
        return numbers, self.midnight + begin + numbers * 60 // per_minute

    def busy(self, shift: int) -> float:
        """How busy a person is whose day begins `shift` seconds after 8 o'clock: 0 to 1, less at noon."""
        hour = (self.start - self.midnight - shift) / HOUR
        if not 8 <= hour < 17.5:
            return 0.0
        return 0.3 if 12 <= hour < 13 else 1.0


@dataclass(frozen=True)
class Member:
    """One principal of the organisation: who it is at a time, and what it does in a slot."""

    number: int
    name: str
    actor: Callable[[int], Actor]
    work: Callable[[Member, Actor, Slot], Iterator[Calls]]

    def calls(self, slot: Slot) -> Iterator[Calls]:
        """What it asks for in this slot."""
        return self.work(self, self.actor(slot.start), slot)

    @property
    def principal_id(self) -> str | None:
        """Its id as records name it, the same all day."""
        found: str | None = self.actor(0).identity.get("principalId")
        return found


def voice_key(owner: int, number: int) -> str:
    """A recording that is assigned to one contractor, in ml-voice-raw."""
    return f"raw/contractor-{owner:02d}/batch-{number // 250:03d}/utt-{number:06d}.wav"


def contractor(member: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """Listens to the recordings assigned to it, hears some again, and hands in transcripts."""
    owner, bucket = member.number, "ml-voice-raw"
    heard = slot.some(12 * slot.busy(owner % 4 * 900))
    numbers = slot.number * 15 + slot.rng.integers(0, 20, len(heard))
    yield Calls(actor, "GetObject", bucket, [voice_key(owner, i) for i in numbers.tolist()], heard)
    if len(heard):
        yield Calls(actor, "ListObjects", bucket, [f"raw/contractor-{owner:02d}/"], heard[:1])
        written = [f"transcripts/contractor-{owner:02d}/utt-{i:06d}.json" for i in numbers[::4].tolist()]
        yield Calls(actor, "PutObject", "ml-voice-datasets", written, heard[::4])
    if owner % 6 == 3:
        # A new laptop: the whole set again, at once.
        again, seconds = slot.paced((9 + owner % 5) * HOUR, 400, 2_000)
        yield Calls(actor, "GetObject", bucket, [voice_key(owner, i) for i in again.tolist()], seconds)


def analyst(member: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """Queries tables through Athena, looks at samples, sometimes at what is not for analysts; pulls a lot at times."""
    busy = slot.busy(member.number % 5 * 600)
    queried, looked, denied = slot.some(5 * busy), slot.some(2 * busy), slot.some(0.1 * busy)
    parts = slot.rng.integers(0, 400, len(queried)).tolist()
    tables = [f"tables/listening/part-{i:05d}.parquet" for i in parts]
    yield Calls(actor.through("athena.amazonaws.com"), "GetObject", "ml-analytics", tables, queried)
    samples = _dataset_keys(slot.rng.integers(0, 4_000, len(looked)).tolist())
    yield Calls(actor, "HeadObject", "ml-voice-datasets", samples[::2], looked[::2])
    yield Calls(actor, "GetObject", "ml-voice-datasets", samples, looked)
    yield Calls(actor, "ListObjects", "ml-voice-datasets", ["train/"] * len(looked[::5]), looked[::5])
    yield Calls(actor, "GetObject", "ml-face-raw", _face_keys(range(len(denied))), denied, "AccessDenied")
    if member.number % 8 == 2:
        pulled, seconds = slot.paced(14 * HOUR + member.number * 60, 250, 2_500)
        yield Calls(actor, "GetObject", "ml-voice-datasets", _dataset_keys(pulled.tolist()), seconds)


def build(member: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """CI: every half hour fetches layers, asks for what its policy forgot, and stores its own."""
    if slot.number % 6 != member.number % 6:
        return
    fetched, number = np.sort(slot.start + slot.rng.integers(0, SLOT, 40)), slot.number
    layers = [f"layers/{member.name}/layer-{i:03d}.tar.gz" for i in range(40)]
    yield Calls(actor, "HeadObject", "ml-artifacts", layers[:8], fetched[:8])
    yield Calls(actor, "GetObject", "ml-artifacts", layers, fetched)
    yield Calls(actor, "GetObject", "ml-artifacts", [f"signing/{member.name}.key"], fetched[:1], "AccessDenied")
    stored = [f"builds/{member.name}/{number:03d}/{i}.whl" for i in range(5)]
    yield Calls(actor, "PutObject", "ml-artifacts", stored, fetched[-5:])


def etl(_: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """Nightly: every new recording once, at 9,960 in 5 minutes, and shards of a dataset written from them."""
    begin = 2 * HOUR
    numbers, seconds = slot.paced(begin, 1_992, 16_000)
    keys = [voice_key(1 + i % 12, i // 12) for i in numbers.tolist()]
    yield Calls(actor, "GetObject", "ml-voice-raw", keys, seconds)
    written, seconds = slot.paced(begin, 60, 480)
    yield Calls(actor, "PutObject", "ml-voice-datasets", _dataset_keys(written.tolist()), seconds)


def trainer(_: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """Five epochs over the same 3,000 samples, shuffled anew each: 12,000 requests in 5 minutes, 3,000 objects."""
    numbers, seconds = slot.paced(20 * HOUR, 2_400, 15_000)
    # No multiplier has a factor in common with 3,000, so that an epoch meets every sample once.
    shuffled = numbers * (1_787 + 60 * (numbers // 3_000)) % 3_000
    yield Calls(actor, "GetObject", "ml-voice-datasets", _dataset_keys(shuffled.tolist()), seconds)


def backup(_: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """AWS Backup with its service role: one object after the other for an hour."""
    numbers, seconds = slot.paced(4 * HOUR, 120, 7_200)
    yield Calls(actor, "GetObject", "ml-face-raw", _face_keys(numbers.tolist()), seconds)


def log_delivery(_: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """AWS delivering flow logs, day and night."""
    seconds = slot.some(10)
    keys = [f"AWSLogs/{DATA_ACCOUNT}/vpcflowlogs/us-east-1/{slot.start}_{i:04d}.log.gz" for i in range(len(seconds))]
    yield Calls(actor, "PutObject", "org-logs", keys, seconds)


def partner(_: Member, actor: Actor, slot: Slot) -> Iterator[Calls]:
    """Another company's job that fetches the latest samples every hour."""
    if slot.number % 12 == 4:
        seconds = slot.some(100)
        first = slot.number * 20
        yield Calls(actor, "GetObject", "ml-voice-datasets", _dataset_keys(range(first, first + len(seconds))), seconds)


def _dataset_keys(numbers: Iterable[int]) -> list[str]:
    return [f"train/shard-{i // 500:03d}/sample-{i:06d}.flac" for i in numbers]


def _face_keys(numbers: Iterable[int]) -> list[str]:
    return [f"raw/site-{i // 1000:02d}/img-{i:06d}.jpg" for i in numbers]


def _person(role: Role, name: str, address: str, agent: str, second: int, *, mfa: bool = False) -> Actor:
    """A person signs in once a working day."""
    signed_in = 7 * HOUR + zlib.crc32(name.encode()) % 3_000
    return Actor(role.session(name, second - (second - signed_in) % WORKING_DAY, mfa=mfa), address, agent)


def _machine(role: Role, name: str, address: str, second: int) -> Actor:
    """A machine inside a VPC gets new credentials under the same name every hour."""
    return Actor(role.session(name, second - second % HOUR), address, BOTO, "vpce-0a1b2c3d4e5f60718")


def _contractor(number: int) -> Member:
    role, name = CONTRACTOR_ROLES[number % 2], f"contractor-{number:02d}"
    home = f"11.{number % 256}.{number * 7 % 256}.{20 + number % 200}"
    return Member(number, name, partial(_person, role, name, home, BOTO), contractor)


def _analyst(number: int) -> Member:
    name = f"analyst{number:02d}@example.org"
    office = f"22.10.1.{10 + number % 40}"
    return Member(number, name, partial(_person, ANALYST_ROLE, name, office, CLI, mfa=True), analyst)


def _build(number: int) -> Member:
    role, name = Role(TOOLS_ACCOUNT, "/ci/", f"ci-deploy-{number:02d}"), f"build-{number:02d}"
    return Member(number, name, partial(_machine, role, name, f"10.20.{number}.15"), build)


def _fixed() -> list[Member]:
    """What every organisation has once: its nightly jobs, and those who are no session of a role of its own."""
    pipelines = [
        ("voice-etl", "nightly-etl", "10.10.3.21", etl),
        ("VoiceTrainer", "i-0c4f1d22a7be90316", "10.10.7.40", trainer),
    ]
    machines = [
        Member(i, name, partial(_machine, Role(DATA_ACCOUNT, "/pipelines/", role), name, address), work)
        for i, (role, name, address, work) in enumerate(pipelines)
    ]
    delivery, foreign = "delivery.logs.amazonaws.com", f"{token('AROA', 21, PARTNER_ACCOUNT)}:nightly-sync"
    service = Actor({"type": "AWSService", "invokedBy": delivery}, delivery, delivery)
    stranger = Actor({"type": "AWSAccount", "principalId": foreign, "accountId": PARTNER_ACCOUNT}, "22.44.9.17", BOTO)
    return [
        *machines,
        Member(
            2,
            "AWSBackup",
            lambda at: _machine(BACKUP_ROLE, "AWSBackup", "", at).through("backup.amazonaws.com"),
            backup,
        ),
        Member(3, delivery, lambda _: service, log_delivery),
        Member(4, foreign, lambda _: stranger, partner),
    ]


def _members(principals: int) -> list[Member]:
    """Everybody: fixed members, a tenth CI, and of the rest nearly half contractors and half analysts."""
    if principals < FEWEST_PRINCIPALS:
        raise InputError(
            f"an organisation of {principals} principals is too small", remedy=f"ask for {FEWEST_PRINCIPALS} or more"
        )
    fixed = _fixed()
    builds = [_build(n) for n in range(1, 1 + principals // 10)]
    people = principals - len(fixed) - len(builds)
    contractors = [_contractor(n) for n in range(1, 1 + people * 9 // 20)]
    return [*fixed, *builds, *contractors, *(_analyst(n) for n in range(1, 1 + people - len(contractors)))]


class Organisation:
    """One UTC day of a small organisation. `theft` is what `files()` will plant in it, None for a day without."""

    def __init__(self, seed: int, *, day: date, principals: int = 40, theft: Theft | None = None) -> None:
        self.seed, self.day, self.theft = seed, day, theft
        self.members = _members(principals)
        self._midnight = int(datetime.combine(day, time(), UTC).timestamp())

    def files(self) -> Iterator[LogFile]:
        """The day's log files in the order they are delivered; the last come after midnight."""
        delivery = Delivery(self.seed)
        for start in range(self._midnight, self._midnight + DAY, SLOT):
            slot = Slot(self._midnight, start, np.random.default_rng((self.seed, self.day.toordinal(), start)))
            # A list: all members draw before the first record does, so that a theft changes nobody else's calls.
            for calls in list(self._calls(slot)):
                delivery.take(calls, slot.rng)
            yield from delivery.until(start + SLOT)
        yield from delivery.rest()

    def _calls(self, slot: Slot) -> Iterator[Calls]:
        theft = self.theft
        if theft is None or not theft.started_at - SLOT < slot.start < theft.started_at + theft.seconds:
            for member in self.members:
                yield from member.calls(slot)
            return
        for member in self.members:
            drawn = list(member.calls(slot))
            # The robbed session's owner rests meanwhile, or the label's count would be his work too.
            if member.principal_id != theft.principal_id:
                yield from drawn
        yield from self._stolen(theft, slot)

    def _stolen(self, theft: Theft, slot: Slot) -> Iterator[Calls]:
        """What the thief does in this slot: lists the others' prefixes, then reads them in turn, every object once."""
        victim = next(m for m in self.members if m.principal_id == theft.principal_id)
        others = [m.number for m in self.members if m.work is contractor and m is not victim]
        actor = Actor(victim.actor(theft.started_at).identity, STOLEN_ADDRESS, STOLEN_AGENT)
        if slot.start <= theft.started_at < slot.start + SLOT:
            prefixes = [f"raw/contractor-{owner:02d}/" for owner in others]
            yield Calls(actor, "ListObjects", "ml-voice-raw", prefixes, np.full(len(prefixes), theft.started_at))
        rng = np.random.default_rng((self.seed, theft.started_at))
        seconds = theft.started_at + np.sort(rng.integers(0, theft.seconds, theft.objects))
        first, last = np.searchsorted(seconds, (slot.start, slot.start + SLOT)).tolist()
        keys = [voice_key(others[i % len(others)], i // len(others)) for i in range(first, last)]
        yield Calls(actor, "GetObject", "ml-voice-raw", keys, seconds[first:last])


def smash_and_grab(
    seed: int,
    *,
    day: date,
    principals: int = 40,
    at: time = time(12, 40),
    objects: int = 24_000,
    rate: float = 60.0,
    contractor_number: int = 2,
) -> Organisation:
    """A day on which somebody with a contractor's stolen credentials reads other contractors' recordings.

    Same session, another network, another user agent; `rate` objects a second from `at` on, each of them once.
    """
    calm = Organisation(seed, day=day, principals=principals)
    victim = next((m for m in calm.members if m.work is contractor and m.number == contractor_number), None)
    if victim is None:
        raise InputError(f"no contractor {contractor_number} among {principals} principals", remedy="take number 2")
    started_at = int(datetime.combine(day, at, UTC).timestamp())
    seconds = math.ceil(objects / rate)
    if seconds > DAY - started_at % DAY:
        raise InputError(f"a theft of {seconds} s from {at} on goes past midnight", remedy="let it begin earlier")
    who = victim.actor(started_at).identity
    role = who["sessionContext"]["sessionIssuer"]["arn"]
    theft = Theft(
        "smash_and_grab", who["arn"], role, who["principalId"], who["accessKeyId"], started_at, seconds, objects
    )
    return Organisation(seed, day=day, principals=principals, theft=theft)


def burst(
    session_name: str,
    objects: int,
    seconds: int,
    start: int,
    *,
    role: Role = CONTRACTOR_ROLES[0],
    bucket: str = "ml-voice-raw",
    prefix: str = "raw/contractor-99/",
    address: str = STOLEN_ADDRESS,
    seed: int = 0,
) -> list[Record]:
    """GetObject records of one session, in order: so many distinct objects, evenly over `[start, start + seconds)`."""
    actor = Actor(role.session(session_name, start - 900), address, BOTO)
    times = start + np.arange(objects, dtype=np.int64) * seconds // objects
    keys = [f"{prefix}utt-{i:06d}.wav" for i in range(objects)]
    return records(
        Calls(actor, "GetObject", bucket, keys, times), np.random.default_rng((seed, start, *session_name.encode()))
    )
