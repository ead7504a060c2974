"""What the daemon's loop needs of the world: the shapes both twins of every edge have (AWS and local). No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from detector.core.part import Shelf


def shown_name(name: str) -> str:
    """A file's name as valid text: it may be any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Notice:
    """One piece of log data: either its bytes are here (`data`), or it says where they lie.

    name: what people are shown and rejects are filed under (`s3://bucket/key`, a path, `sqs:<message id>`).
    version: S3 version id or ETag; for a file its size and modification time. size: bytes, as far as announced.
    """

    name: str
    data: bytes | None = None
    bucket: str = ""
    key: str = ""
    version: str = ""
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Message:
    """What is acknowledged as one. `sent_at`: epoch seconds it was put into the queue (a file: its modification time).

    `problem`: why the message is not understood, or refused (a bucket outside `accept`); it has no notices then, but
    its `body`.
    """

    id: str
    notices: tuple[Notice, ...] = ()
    sent_at: float = 0.0
    problem: str = ""
    body: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One poll. `backlog`: more is already waiting, or what came is old: event time must not advance yet."""

    messages: list[Message] = field(default_factory=list)
    backlog: bool = False


class Source(Protocol):
    """Where notices come from. Positions travel with the messages; only `acknowledge` commits.

    What was received is in hand, and is not delivered again, until it is acknowledged or let go of.
    """

    @property
    def redrives(self) -> bool:
        """Whether what is never acknowledged ends among dead letters, where people find it."""

    def receive(self, wait_seconds: float) -> Delivery:
        """The next messages, waiting up to so long for the first. Raises EdgeError."""

    def fetch(self, notice: Notice) -> bytes:
        """The notice's bytes as delivered (still gzipped). Raises EdgeError, `retryable` where a later try may work.

        May be called by several threads at a time.
        """

    def positions(self, done: Sequence[Message]) -> bytes:
        """What the checkpoint keeps so that after a restart neither these nor earlier ones are delivered again."""

    def restore(self, positions: bytes) -> None:
        """Go on from a checkpoint's positions. Raises StateError."""

    def acknowledge(self, messages: Sequence[Message]) -> list[str]:
        """Never deliver these again. Returns the ids of those that could not be acknowledged."""

    def let_go(self, messages: Sequence[Message]) -> None:
        """These are no longer worked on, and not done with: deliver them again some time."""

    def close(self) -> None:
        """Let go of connections."""


class Files(Protocol):
    """Keeps bytes under names, for people and other programs: a quarantine, an archive, cases."""

    def put(self, name: str, data: bytes, *, once: bool = False) -> str:
        """Keep these bytes, whole or not at all; where they are. once: what is there stays. Raises EdgeError."""

    def names(self, below: str = "") -> list[str]:
        """The names that begin so, sorted; `below` ends with a slash. Raises EdgeError."""

    def get(self, name: str, most: int) -> bytes:
        """The bytes under a name, the first `most` of them. Raises EdgeError."""


class Leaf(NamedTuple):
    """A file in a tree, or a folder, whose name ends with a slash.

    stamp: changes when the file does, if known. at: epoch seconds of when it was put there, if known.
    """

    name: str
    size: int = 0
    stamp: str = ""
    at: float = 0.0

    @property
    def folder(self) -> bool:
        """Whether it is one."""
        return self.name.endswith("/")


class Tree(Protocol):
    """Files below folders, all named from the root on. A folder's name ends with a slash; the root's is empty."""

    def begin(self, folder: str) -> None:
        """A folder will be asked for soon."""

    def level(self, folder: str, after: str = "") -> Iterator[Leaf]:
        """What lies in a folder, in the order of names, after a name. Raises EdgeError or OSError."""


class Found(NamedTuple):
    """An object as a listing shows it. size: bytes."""

    key: str
    size: int
    storage_class: str = "STANDARD"


class Lying(NamedTuple):
    """An object that was looked at. sha256: of its bytes, in hexadecimal; empty where the store does not know it."""

    sha256: str
    version: str = ""
    tag: str = ""


class Plot(Protocol):
    """Buckets to put decoys into. What is there is never overwritten, and nothing is read: reads are findings."""

    def listed(self, bucket: str, prefix: str, most: int) -> list[Found]:
        """The objects whose keys begin so, in the order of keys, the first `most` of them. Raises EdgeError."""

    def look(self, bucket: str, key: str) -> Lying | None:
        """What lies there; None if nothing does. Raises EdgeError."""

    def put(self, bucket: str, key: str, data: bytes, storage_class: str) -> Lying | None:
        """Put an object where none is; None if there is one. Raises EdgeError."""

    def delete(self, bucket: str, key: str, lying: Lying) -> None:
        """Delete the very object that was looked at, and no other that came since. Raises EdgeError."""


class Sink(Protocol):
    """Where alerts go. keeps: they are kept there for whoever looks; nobody is woken."""

    name: str
    keeps: bool

    def send(self, alert: Mapping[str, Any]) -> None:
        """Deliver one alert (the contract's JSON). Raises EdgeError; delivered at least once, the id tells copies."""


class StateStore(Shelf, Protocol):
    """Holds the last checkpoint. One writer; `save` is atomic: after a crash there is the old one or the new one.

    Of two writers of one state (the lease sees to it that there is one) the one that opened it last is right: saves of
    the other raise LeaseLostError and change nothing. A save that raises may only be followed by opening anew.

    A checkpoint may be larger than memory: whoever asks for a part, or for a range of one, gets just that.
    """

    def load(self) -> Mapping[str, bytes]:
        """Named parts of the last checkpoint, each read when it is asked for; empty if there is none.

        Raises StateError.
        """

    def save(self, parts: Mapping[str, bytes | None]) -> None:
        """Replace these parts (None deletes one), all or none. Raises StateError."""

    def close(self) -> None:
        """Let go of the lock."""


class Probe(Protocol):
    """Reads canaries."""

    def read(self, bucket: str, key: str) -> None:
        """Read one object, so that the logs must tell of it. Takes a few seconds at most. Raises EdgeError."""


class Lease(Protocol):
    """The right to be the one daemon of a state. `other`: who has it, as a person is told; empty if nobody is known to.

    `epoch` rises with every holder, where holders can be paused and succeeded; else it is 0.

    A holder that was paused (a stopped process, a frozen machine) may have lost it without knowing: `held` says so,
    and is asked before everything that leaves the program.
    """

    other: str
    epoch: int

    def acquire(self, wait: float, stop: Callable[[], bool]) -> bool:
        """Wait so many seconds at most (0: look once) for the lease; whether it is held. `stop`: no longer wanted.

        Raises StateError if it can never be had.
        """

    def held(self) -> bool:
        """Whether nobody else can have it, now and for a moment longer."""

    def release(self) -> None:
        """Let the next one have it at once. Never raises; safe to repeat."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a revocation: `applied`, `already`, `ordered`, `refused` or `failed`, and why.

    before: by an action's name what was there, where taking it back needs to know. passing: what failed may work soon.
    actions: what stands now of the plan's, though others may have failed; a wider denial from before among them.
    """

    case_id: str
    status: str
    detail: str
    before: Mapping[str, Any] = field(default_factory=dict)
    passing: bool = False
    actions: tuple[Mapping[str, Any], ...] = ()

    def of(self, plan: Mapping[str, Any]) -> dict[str, Any] | None:
        """The plan as far as it stands, or is ordered; None if nothing of it does."""
        if self.actions:
            return {**plan, "actions": list(self.actions)}
        return dict(plan) if self.status in ("applied", "already", "ordered") else None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a case lies in AWS: `stands`, `gone` (some of it), `changed` by somebody else, or `unknown`, and why.

    around: digest of what else bears on it (the role's other policies, trust and boundary; the bucket's other policy).
    """

    state: str
    detail: str
    around: str = ""


class Responder(Protocol):
    """Carries out revocation plans. Never raises for what AWS refuses: the answer says so.

    `separate`: somebody else does, and looks after it; `apply` only orders.
    """

    separate: bool

    def before(self, plan: Mapping[str, Any]) -> Applied:
        """What is there, before anything is written; `refused` or `failed` if it cannot be written."""

    def apply(self, plan: Mapping[str, Any]) -> Applied:
        """Do what the plan says; safe to repeat."""

    def remove(self, plan: Mapping[str, Any], before: Mapping[str, Any]) -> Applied:
        """Take back what the plan wrote, where it is exactly that; safe to repeat."""

    def look(self, plan: Mapping[str, Any]) -> Standing:
        """How it lies there now."""
