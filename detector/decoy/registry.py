"""The registry of decoys: which objects nobody has reason to read. Pure: texts in, texts out.

Plan and registry are one form, JSON that a person can read and cut: a plan whose decoys were planted is a registry.
It is as secret as the decoys are: who can read it knows what to leave alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from detector.errors import InputError
from detector.source import Files

LONGEST = 16 << 20
"""Bytes of a file of the registry."""
MOST = 100_000
"""Decoys of a registry."""
State = Literal["planned", "planted", "removed"]


class Decoy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One object. sha256: of its bytes, which `noise` and `size` decide (`content`). at: when it came into its state.

    Only what was planted counts: under a name that is only planned a real object may come to lie.
    """

    bucket: str
    key: str
    size: int
    sha256: str
    noise: str
    why: str = ""
    storage_class: str = "STANDARD"
    state: State = "planned"
    at: str = ""


class Passed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder without decoys, and why it has none."""

    folder: str
    why: str


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decoys that were planned together."""

    schema: Literal["bucketwatch.decoys.v1"] = "bucketwatch.decoys.v1"
    name: str
    made_at: str
    decoys: tuple[Decoy, ...]
    passed_over: tuple[Passed, ...] = ()


def encode(plan: Plan) -> bytes:
    """A plan as text."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"


def decode(data: bytes, where: str) -> Plan:
    """The plan that a text says. Raises InputError."""
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(
            f"this is no file of decoys: {error}", where=where, remedy="take one that `bucketwatch decoy plan` wrote"
        ) from error
    if len(plan.decoys) > MOST or any(not one.bucket or not one.key for one in plan.decoys):
        raise InputError(
            f"expected at most {MOST:,} decoys, each with bucket and key", where=where, remedy="make several plans"
        )
    return plan


def read_all(files: Files) -> dict[str, bytes]:
    """The texts of a registry, by name. Raises EdgeError."""
    return {name: files.get(name, LONGEST) for name in files.names() if name.endswith(".json") and "/" not in name}


def standing(texts: Mapping[str, bytes]) -> frozenset[tuple[str, str]]:
    """Bucket and key of every decoy of these texts that lies there. Raises InputError."""
    return frozenset((one.bucket, one.key) for one in decoys(texts) if one.state == "planted")


def decoys(texts: Mapping[str, bytes]) -> Iterable[Decoy]:
    """All decoys of these texts. Raises InputError."""
    for name, text in sorted(texts.items()):
        yield from decode(text, name).decoys
