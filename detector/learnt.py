"""What baselines have learned from history, as a file: written by `replay --learn`, taken up by the daemon. Pure.

Rules of this file
- It holds checkpoint parts of baseline rules and the digest of each: another rule learns something else.
- A head (magic, version, checksum) and MessagePack; never pickle. The checksum finds damage; it is no signature: who
  can write this file decides what is usual.
- A rule takes it up only while it has learned nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from detector.errors import InputError, StateError
from detector.model.codec import seal, unseal

MAGIC, VERSION = b"BWln", 1


class Learnt(msgspec.Struct, frozen=True):
    """rules: id → digest. until: epoch second of the last record. parts: of their checkpoint."""

    rules: dict[str, str]
    until: int
    parts: dict[str, bytes]


def encode(learnt: Learnt) -> bytes:
    """As a file."""
    return seal(MAGIC, VERSION, msgspec.msgpack.encode(learnt))


def decode(data: bytes, where: str) -> Learnt:
    """What a file says. Raises InputError if it is damaged, of another version, or something else."""
    try:
        return msgspec.msgpack.decode(unseal(MAGIC, VERSION, data), type=Learnt)
    except (StateError, msgspec.MsgspecError) as error:
        raise InputError(
            f"this is no file of what baselines have learned: {error}",
            where=where,
            remedy="write it anew with `bucketwatch replay PATH... --learn FILE`",
        ) from error


def belongs(learnt: Learnt, rule_id: str, digest: str) -> bool:
    """Whether this was learned by the very rule."""
    return learnt.rules.get(rule_id) == digest


def refused(learnt: Learnt, digests: Mapping[str, str]) -> list[str]:
    """Ids of rules that are there, and of which this was learned by another wording."""
    return sorted(name for name, digest in learnt.rules.items() if digests.get(name, digest) != digest)
