"""A generated organisation for detection: who is in it, and their requests day by day. Pure, deterministic by seed.

Every member's day has a random generator of its own: days may be made in any order, and nobody's day changes because
somebody else joins or steals. A day is held in memory as columns of numbers, about 40 bytes a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from detector.errors import InputError
from replay.drill import habits
from replay.drill.calls import Partition, Role
from replay.drill.habits import Company, Day, Member
from replay.drill.people import (
    AGENTS,
    DAY,
    Change,
    Identity,
    Names,
    Network,
    renamed,
    role_name,
    service,
    stranger,
    user,
)  # fmt: skip
from replay.drill.traffic import Asked, Place, Who

START = 1_777_852_800
"""2026-05-04T00:00:00Z, a Monday."""
FEWEST_ROLES = 12
TEAMS = ("voice", "face", "text", "maps", "robot", "search")
ENDINGS = {"raw": ".wav", "datasets": ".flac", "tables": ".parquet", "models": ".bin"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What an organisation is like.

    roles: principals, about. names: roles named by their group, or as CloudFormation names them, hardly two of one
    stem. accounts: all in one account, or every team in its own.
    """

    roles: int = 375
    days: int = 14
    names: Names = "named"
    accounts: str = "one"


class Kind(NamedTuple):
    """A group: its share of all roles, how few it has at least, what its members do, where they call from, and what AWS
    makes their credentials for.
    """

    group: str
    share: float
    fewest: int
    habit: Callable[[Member, Day], Iterator[Asked]]
    network: str
    places: str
    agent: str = "boto"
    issued_to: str = ""


KINDS = (
    Kind("contractor", 0.26, 3, habits.contractor, "home", "raw"),
    Kind("analyst", 0.18, 2, habits.analyst, "office", "tables datasets raw", "cli"),
    Kind("scientist", 0.11, 1, habits.scientist, "vpn", "datasets raw models", "cli"),
    Kind("trainer", 0.04, 1, habits.trainer, "vpc", "datasets datasets", issued_to="web identity"),
    Kind("spot-trainer", 0.02, 0, habits.trainer, "spot", "datasets datasets", issued_to="ec2"),
    Kind("nightly-etl", 0.012, 1, habits.nightly, "vpc", "raw datasets", issued_to="web identity"),
    Kind("glue-job", 0.04, 0, habits.glue, "vpc", "tables"),
    Kind("web-service", 0.08, 1, habits.web, "vpc", "raw", "java", "web identity"),
    Kind("thumbnail-fn", 0.05, 1, habits.function, "cloud", "raw datasets", issued_to="AWS::Lambda::Function"),
    Kind("ci-deploy", 0.08, 1, habits.build, "nat", "models", issued_to="web identity"),
    Kind("batch-job", 0.05, 0, habits.batch, "spot", "datasets raw", "java", "ec2"),
    Kind("sync-user", 0.02, 0, habits.onprem, "office", "raw", "cli"),
)
SHARED_ROLES = 2
"""Roles that many contractors share, each under a session name of its own."""
SHARERS = 9


class Organisation:
    """The organisation of a seed. `days()` may be walked as often as one likes."""

    def __init__(self, seed: int, shape: Shape | None = None, start: int = START) -> None:
        self.seed, self.shape, self.start = seed, shape or Shape(), start
        if self.shape.roles < FEWEST_ROLES:
            raise InputError(
                f"an organisation of {self.shape.roles} roles is too small", remedy=f"ask for {FEWEST_ROLES} or more"
            )
        self._rng = np.random.default_rng((seed, 1))
        self._whos = 0
        self.company = self._company()
        self.members = [*self._employed(), *self._shared(), *self._services()]

    @property
    def end(self) -> int:
        """Epoch second after the last day."""
        return self.start + self.shape.days * DAY

    def days(self) -> Iterator[list[Asked]]:
        """The requests of each day, in no order."""
        for number in range(self.shape.days):
            yield self.day(number)

    def day(self, number: int) -> list[Asked]:
        """The requests of one day."""
        midnight = self.start + number * DAY
        asked: list[Asked] = []
        for member in self.members:
            if member.since <= midnight:
                rng = np.random.default_rng((self.seed, member.who.number, number))
                asked += member.habit(member, Day(midnight, rng, self.company))
        return asked

    def home(self, bucket: str) -> Partition:
        """The account and region whose log files name a bucket."""
        team = bucket.split("-", 1)[0]
        return Partition(self._account(team), "eu-west-1" if team == "face" else "us-east-1")

    def _account(self, team: str) -> str:
        if self.shape.accounts == "one" or team not in TEAMS:
            return "111122223333"
        return f"{200_000_000_000 + TEAMS.index(team) * 11_111_111_111}"

    def _company(self) -> Company:
        teams = TEAMS[: max(2, min(len(TEAMS), self.shape.roles // 20))]
        per_day = int(max(6_000, min(12_000, self.shape.roles * 60)))
        places = {kind: tuple(self._places(teams, kind)) for kind in ENDINGS}
        return Company(
            **places,
            layers=Place("ci-artifacts", "layers/", ".tar.gz"),
            builds=Place("ci-artifacts", "builds/", ".whl"),
            logs=Place("org-logs", "AWSLogs/vpcflowlogs/", ".log.gz"),
            public=Place("public-assets", "img/", ".webp"),
            secret=Place("payroll-exports", "2026/", ".csv"),
            started=self.start,
            per_day=per_day,
        )

    def _places(self, teams: tuple[str, ...], kind: str) -> Iterator[Place]:
        for team in teams:
            for number in range({"raw": 6, "datasets": 5, "tables": 4, "models": 2}[kind]):
                yield Place(f"{team}-{kind}", f"{_FOLDERS[kind]}/{_CALLED[kind][number]}/", ENDINGS[kind])

    def _employed(self) -> Iterator[Member]:
        roles = self.shape.roles - SHARED_ROLES
        total = sum(kind.share for kind in KINDS)
        number = 0
        for kind in KINDS:
            for one in range(max(kind.fewest, round(kind.share / total * roles))):
                yield self._member(kind, one, number)
                number += 1

    def _who(self, at: Callable[[int, int], object]) -> Who:
        self._whos += 1
        return Who(self._whos, at)  # type: ignore[arg-type]

    def _member(self, kind: Kind, one: int, number: int) -> Member:
        rng, names = self._rng, self.shape.names
        team = TEAMS[number % max(2, min(len(TEAMS), self.shape.roles // 20))]
        places = self._own(kind, team, one)
        network = Network(kind.network, number, self.start + 9 * DAY + 8 * 3600)
        role = Role(self._account(team), "/", role_name(kind.group, one, names, rng))
        session = {"spot": "i-0{v}", "cloud": role.name[-40:]}.get(kind.network, f"{kind.group}-{one:03d}")
        newcomer = kind.group in ("contractor", "analyst", "scientist") and rng.random() < 0.06
        since = self.start + int(rng.integers(3, max(4, self.shape.days))) * DAY if newcomer else 0
        changes: tuple[Change, ...] = ()
        if kind.network in ("vpc", "cloud") and rng.random() < 0.06:
            since_ = self.start + int(rng.integers(4, max(5, self.shape.days))) * DAY + 39_600
            changes = (Change(since_, renamed(role, rng)),)
        identity = Identity(
            role, session, network, AGENTS[kind.agent], kind.network == "office", renamed=changes,
            issued_to=kind.issued_to,
        )  # fmt: skip
        made = Member(
            who=self._who(identity.at),
            group=kind.group,
            habit=kind.habit,
            places=places,
            activity=float(rng.lognormal(0, 0.5)),
            since=since,
            shift=int(rng.integers(0, 5400)),
            first=0 if kind.habit is habits.contractor else int(rng.integers(0, 200)),
            identity=identity,
        )
        return self._special(made, role, network)

    def _special(self, made: Member, role: Role, network: Network) -> Member:
        """What some kinds have beyond a role: Athena, Glue, visitors with signed URLs, a user instead of a role."""
        identity = made.identity
        if made.habit is habits.analyst and identity:
            return replace(made, others=(self._who(identity.by("athena.amazonaws.com").at),))
        if made.habit is habits.glue and identity:
            return replace(made, who=self._who(identity.by("glue.amazonaws.com").at))
        if made.habit is habits.onprem:
            return replace(made, who=self._who(user(role.account, role.name, network)), identity=None)
        if made.habit is habits.web and identity and made.first % 4 == 0:
            visitors = Network("clients", network.number)
            signed = replace(identity, network=visitors, agent=AGENTS["browser"], auth="QueryString")
            return replace(made, others=(self._who(signed.at),))
        return made

    def _own(self, kind: Kind, team: str, one: int) -> tuple[Place, ...]:
        """Where a member's work lies: places of its team, of the kinds its group reads."""
        if kind.group == "contractor":
            return (
                Place(f"{team}-raw", f"raw/contractor-{one:03d}/", ".wav"),
                Place(f"{team}-datasets", f"transcripts/contractor-{one:03d}/", ".json"),
            )
        chosen = []
        for name in kind.places.split():
            places = [place for place in getattr(self.company, name) if place.bucket.startswith(team)]
            chosen += [places[(one + i) % len(places)] for i in range(1 if kind.habit is habits.function else 2)]
        return tuple(dict.fromkeys(chosen)) if len(set(chosen)) > 1 else (chosen[0], chosen[0])

    def _shared(self) -> Iterator[Member]:
        """Contractors of an agency, under one role each agency."""
        for agency in range(SHARED_ROLES):
            role = Role("111122223333", "/vendors/", ("ContractorDataReader", "ContractorTranscriber")[agency])
            for one in range(max(2, min(SHARERS, self.shape.roles // 10))):
                number = 700 + agency * 50 + one
                identity = Identity(role, f"agency{agency}-{one:02d}", Network("home", number))
                own = Place(f"{TEAMS[agency]}-raw", f"raw/agency-{agency}-{one:02d}/", ".wav")
                texts = Place(f"{TEAMS[agency]}-datasets", f"transcripts/agency-{one:02d}/", ".json")
                yield Member(
                    who=self._who(identity.at),
                    group="agency",
                    habit=habits.contractor,
                    places=(own, texts),
                    activity=float(self._rng.lognormal(0, 0.4)),
                    shift=int(self._rng.integers(0, 5400)),
                    identity=identity,
                )

    def _services(self) -> Iterator[Member]:
        """AWS's own, and another company."""
        account = "111122223333"
        raw, datasets = self.company.raw, self.company.datasets
        linked = Role(account, "/aws-service-role/macie.amazonaws.com/", "AWSServiceRoleForAmazonMacie")
        vault = Role(account, "/service-role/", "AWSBackupDefaultServiceRole")
        copier = Role(account, "/service-role/", "s3crr_role_for_voice-raw")

        def seat(number: int) -> Network:
            return Network("nat", number)

        vault_ = Identity(vault, "AWSBackup", seat(1), through="backup.amazonaws.com")
        macie = Identity(linked, "macie", seat(2), through="macie.amazonaws.com")
        replicating = Identity(copier, "s3-replication", seat(3), through="s3.amazonaws.com")
        acting = [
            (vault_.at, habits.backup, raw[:4]),
            (macie.at, habits.macie, datasets[:4]),
            (replicating.at, habits.replication, raw[:2]),
            (service("delivery.logs.amazonaws.com"), habits.delivery, (self.company.logs,)),
            (service("cloudfront.amazonaws.com"), habits.edge, (self.company.public,)),
            (stranger("444455556666", "PartnerSync", "nightly-sync", seat(4)), habits.partner, datasets[1:2]),
        ]
        for at, habit, places in acting:
            yield Member(self._who(at), "service", habit, tuple(places))


_FOLDERS = {"raw": "raw", "datasets": "train", "tables": "tables", "models": "models"}
_CALLED = {
    "raw": ("inbox", "studio", "street", "phone", "archive", "field"),
    "datasets": ("v1", "v2", "v3", "eval", "pilot"),
    "tables": ("events", "sessions", "labels", "costs"),
    "models": ("prod", "nightly"),
}
