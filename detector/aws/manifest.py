"""The manifest of a checkpoint in S3: every part's name, where it lies, how long it is, and its checksum. Pure.

As bytes it is a line a person can read (what it is, version, checksum of the rest) and then MessagePack.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import xxhash

from detector.errors import StateError
from detector.response.plain import printable

VERSION = 1
KIND = b"bucketwatch-state"
START_AGAIN = (
    "bring back an earlier version of the objects under this prefix (a versioned bucket has them), or choose another "
    "state.prefix: the daemon then starts from nothing and reads its source again"
)


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a part lies. object: the object's name below the prefix. sum: see `checksum`."""

    object: str
    offset: int
    length: int
    sum: int


class Manifest(msgspec.Struct, frozen=True):
    """What a checkpoint is made of. epoch: of the daemon that wrote it. nonce: of this very write."""

    epoch: int
    seq: int
    nonce: str
    parts: dict[str, Place]


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    """Objects are named once: (part, number of its object, offset, length, sum)."""

    epoch: int
    seq: int
    nonce: str
    objects: list[str]
    parts: list[tuple[str, int, int, int, int]]


def checksum(name: str, content: bytes) -> int:
    """Of a part; the name is in it: contents that changed places are damage too."""
    return xxhash.xxh64_intdigest(name.encode("utf-8") + b"\0" + content)


def encode(manifest: Manifest) -> bytes:
    """A manifest as bytes."""
    numbers: dict[str, int] = {}
    parts = [
        (name, numbers.setdefault(place.object, len(numbers)), place.offset, place.length, place.sum)
        for name, place in manifest.parts.items()
    ]
    body = msgspec.msgpack.encode(_Wire(manifest.epoch, manifest.seq, manifest.nonce, list(numbers), parts))
    return b"%s %d %s\n" % (KIND, VERSION, _seal(body)) + body


def decode(data: bytes, where: str) -> Manifest:
    """The manifest that `encode` wrote. Raises StateError if it is damaged, of another version, or something else."""
    head, _, body = data.partition(b"\n")
    kind, _, rest = head.partition(b" ")
    version, _, seal = rest.partition(b" ")
    if kind != KIND or not version.isdigit():
        raise _refused("this is no state of bucketwatch, or it is damaged", where)
    if int(version) != VERSION:
        raise StateError(
            f"the state was written in version {int(version)}, this program reads version {VERSION}",
            where=printable(where),
            remedy="run the program that wrote it, or choose another state.prefix",
        )
    if seal != _seal(body):
        raise _refused("the manifest of the state is damaged: it does not have the checksum it carries", where)
    try:
        wire = msgspec.msgpack.decode(body, type=_Wire)
        parts = dict(_places(wire))
    except (msgspec.MsgspecError, IndexError) as error:
        raise _refused(f"the manifest of the state cannot be read: {error}", where) from error
    return Manifest(wire.epoch, wire.seq, wire.nonce, parts)


def _places(wire: _Wire) -> Iterable[tuple[str, Place]]:
    for name, number, offset, length, told in wire.parts:
        if min(number, offset, length) < 0:
            raise IndexError("a place that cannot be")
        yield name, Place(wire.objects[number], offset, length, told)


def _seal(body: bytes) -> bytes:
    return xxhash.xxh3_128_hexdigest(body).encode("ascii")


def _refused(what: str, where: str) -> StateError:
    return StateError(printable(what), where=printable(where), remedy=START_AGAIN)
