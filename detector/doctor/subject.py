"""What the configuration says, as far as checks ask for it. Pure: plain values, no settings, no paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from detector.core.globs import glob
from detector.doctor.result import Answer, Ask

MAGIC = frozenset("*?")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket and a prefix in which the detector keeps something."""

    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Role:
    """A role that the responder assumes in another account."""

    arn: str
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """queue_url: empty for a source without a queue. own: places of state and journal; others: of what else the daemon
    writes. responders: roles that it assumes itself. separate: another process carries plans out. revoking: rules that
    say `revoke`.
    """

    queue_url: str = ""
    log_buckets: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    prefer: Mapping[str, str] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    own: Mapping[str, Place] = field(default_factory=dict)
    others: Mapping[str, Place] = field(default_factory=dict)
    mode: str = "plan"
    armed: bool = False
    responders: Mapping[str, Role | None] = field(default_factory=dict)
    separate: bool = False
    revoking: int = 0
    canaries: tuple[str, ...] = ()

    def prefers(self, bucket: str) -> bool:
        """Whether one log is named that counts for this bucket."""
        return any(glob([pattern]).fullmatch(bucket) for pattern in self.prefer)


def names_of(pattern: str, existing: tuple[str, ...]) -> tuple[str, ...]:
    """The buckets a glob stands for, among those there are; a name without wildcards stands for itself."""
    if not MAGIC & set(pattern):
        return (pattern,)
    return tuple(name for name in existing if glob([pattern]).fullmatch(name))


def bucket_names(listed: Answer) -> tuple[str, ...]:
    """The buckets that an answer to `s3:list_buckets` names."""
    return tuple(str(one.get("Name")) for one in listed.seen.get("Buckets", ()))


def protected_buckets(subject: Subject, ask: Ask) -> list[str]:
    """The protected buckets that there are, and those that are named in full; sorted."""
    known = bucket_names(ask("s3:list_buckets"))
    return sorted({name for pattern in subject.protected for name in names_of(pattern, known)})


def partition_of(arn: str) -> str:
    """The partition an ARN is in; `aws` for anything else."""
    return arn.split(":")[1] if arn.count(":") >= 5 else "aws"
