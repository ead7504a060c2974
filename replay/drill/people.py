"""Who works in a generated organisation: their roles, how these are named, and where requests come from. Pure.

A member's identity is a function of when its credentials were issued; its address is one of that and of the variant
(a spot node, a function's environment, a visitor with a signed URL). Addresses are invented but global.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from replay.drill.calls import Actor, Record, Role, token

DAY = 86_400
Names = Literal["named", "random"]
AGENTS = {
    "cli": "aws-cli/2.27.12 md/awscrt#0.26.1 ua/2.1 os/linux md/arch#x86_64 lang/python#3.13.3",
    "boto": "Boto3/1.38.6 md/Botocore#1.38.6 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11.12",
    "java": "aws-sdk-java/2.31.35 md/io#sync md/http#Apache ua/2.1 os/Linux lang/java#17.0.15",
    "browser": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/136.0.0.0 Safari/537.36",
    "console": "S3Console/0.4, aws-internal/3 aws-sdk-java/1.12.783 Linux/5.10.236 OpenJDK_64-Bit_Server_VM",
}
WORDS = (
    "Amber", "Basil", "Cedar", "Delta", "Ember", "Fjord", "Grove", "Haven", "Iris", "Jasper", "Kestrel", "Lumen",
    "Maple", "Nimbus", "Onyx", "Prism", "Quartz", "Raven", "Sable", "Tundra", "Umber", "Vesper", "Willow", "Xenon",
    "Yarrow", "Zephyr",
)  # fmt: skip
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Change(NamedTuple):
    """A role that a redeploy gave another name (and id) from this epoch second on."""

    since: int
    role: Role


@dataclass(frozen=True, slots=True)
class Network:
    """Where requests come from.

    kind: home, office, vpn, vpc, nat, cloud (a function's public address), spot, clients (whoever has a signed URL).
    number: which of them; places that AWS's private addresses cannot tell apart have the same. moved: epoch second
    from which the office is another.
    """

    kind: str
    number: int
    moved: int = 1 << 40

    def address(self, issued: int, variant: int) -> str:
        """The address of a request."""
        n, day = self.number, issued // DAY
        if self.kind == "home":
            return f"{81 + n % 7}.{n * 7 % 256}.{n * 13 % 256}.{20 + n % 200}"
        if self.kind == "office":
            return f"22.{10 + (issued >= self.moved)}.{1 + n % 3}.{10 + n * 7 % 200}"
        if self.kind == "vpn":
            return f"23.90.{_mixed(n, day) % 3}.{_mixed(n, day, 1) % 250}"
        if self.kind in ("vpc", "spot"):
            return f"10.{n % 4}.{_mixed(n, variant) % 16}.{4 + _mixed(n, variant, 2) % 240}"
        if self.kind == "cloud":
            return f"3.{_mixed(n, variant, day) % 64}.{_mixed(n, variant, day, 1) % 256}.{variant % 250}"
        if self.kind == "clients":
            return f"{60 + _mixed(variant, 3) % 90}.{_mixed(variant, 4) % 256}.{_mixed(variant, 5) % 256}.{variant % 9}"
        return f"52.{n % 256}.7.{40 + n % 8}"

    @property
    def endpoint(self) -> str | None:
        """The VPC endpoint requests come through."""
        if self.kind not in ("vpc", "spot"):
            return None
        return f"vpce-0{zlib.crc32(f'vpce {self.number % 12}'.encode()):08x}5f60718"


def _mixed(*numbers: int) -> int:
    return zlib.crc32(repr(numbers).encode())


@dataclass(frozen=True, slots=True)
class Identity:
    """A role as its sessions show it. session: their name; `{v}` stands for the variant. through: the AWS service that
    calls on its behalf. renamed: what a redeploy called the role. issued_to: what AWS made the credentials for, as in
    `Role.session`.
    """

    role: Role
    session: str
    network: Network
    agent: str = AGENTS["boto"]
    mfa: bool = False
    through: str = ""
    auth: str = "AuthHeader"
    renamed: tuple[Change, ...] = ()
    issued_to: str = ""

    def at(self, issued: int, variant: int) -> Actor:
        """As records show it."""
        role = next((change.role for change in reversed(self.renamed) if issued >= change.since), self.role)
        name = self.session.replace("{v}", f"{_mixed(self.network.number, variant, issued // DAY):08x}")
        session = _session(role, name, issued, self.mfa, self.issued_to)
        network = self.network
        actor = Actor(session, network.address(issued, variant), self.agent, network.endpoint, self.auth)
        return actor.through(self.through) if self.through else actor

    def by(self, service: str) -> Identity:
        """The same when an AWS service calls on its behalf."""
        return replace(self, through=service)


@lru_cache(maxsize=1 << 15)
def _session(role: Role, name: str, issued: int, mfa: bool, issued_to: str) -> Record:
    return role.session(name, issued, mfa=mfa, issued_to=issued_to)


def service(name: str) -> Callable[[int, int], Actor]:
    """An AWS service that acts for itself."""
    actor = Actor({"type": "AWSService", "invokedBy": name}, name, name)
    return lambda _issued, _variant: actor


def stranger(account: str, role: str, session: str, network: Network) -> Callable[[int, int], Actor]:
    """A role of another company: its records name an id, and no ARN."""
    role_id = token("AROA", 21, account, role)
    identity = {"type": "AWSAccount", "principalId": f"{role_id}:{session}", "accountId": account}
    return lambda issued, variant: Actor(identity, network.address(issued, variant), AGENTS["java"])


def user(account: str, name: str, network: Network) -> Callable[[int, int], Actor]:
    """An IAM user with a key that has been there for years."""
    identity: Record = {
        "type": "IAMUser",
        "principalId": token("AIDA", 21, account, name),
        "arn": f"arn:aws:iam::{account}:user/{name}",
        "accountId": account,
        "accessKeyId": token("AKIA", 20, account, name),
        "userName": name,
    }
    return lambda issued, variant: Actor(identity, network.address(issued, variant), AGENTS["cli"])


def role_name(group: str, number: int, names: Names, rng: np.random.Generator) -> str:
    """`analyst-032`; or by random names what CloudFormation and Identity Center make, hardly two of one stem."""
    if names == "named":
        return f"{group}-{number:03d}"
    first, second = (WORDS[i] for i in rng.integers(0, len(WORDS), 2))
    if group in PEOPLE:
        return f"AWSReservedSSO_{first}{second}{group[0].upper()}{rng.integers(10, 99)}_{rng.bytes(8).hex()}"
    return f"{('prod', 'staging', 'live')[rng.integers(3)]}-{first}{second}Stack-{_pascal(rng)}Role-{_letters(rng, 12)}"


def renamed(role: Role, rng: np.random.Generator) -> Role:
    """The role after its stack was made anew."""
    stem = role.name.rsplit("-", 1)[0]
    return replace(role, name=f"{stem}-{_letters(rng, 12)}")


PEOPLE = frozenset({"analyst", "scientist", "contractor"})


def _letters(rng: np.random.Generator, count: int) -> str:
    return "".join(LETTERS[i] for i in rng.integers(0, len(LETTERS), count))


def _pascal(rng: np.random.Generator) -> str:
    return WORDS[rng.integers(len(WORDS))] + ("Task", "Exec", "Job", "Service", "Worker")[rng.integers(5)]
