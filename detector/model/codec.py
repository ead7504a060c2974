"""Model state as bytes: a head (magic, version, xxh64 of the body) and a msgpack body of plain numbers. Pure.

Never pickle: state may come from a disk or a bucket somebody else can write to, and must not be able to run code.
The digest finds damage; it is no signature.
"""

from __future__ import annotations

import struct
from typing import TypeVar

import msgspec
import xxhash

from detector.errors import StateError

S = TypeVar("S", bound=msgspec.Struct)
_HEAD = struct.Struct(">4sHQ")
_REMEDY = "remove this rule's baseline state to start it anew, and warm it up by a replay of past logs"


def seal(magic: bytes, version: int, body: bytes) -> bytes:
    """`body` with its head; `magic` is 4 bytes."""
    return _HEAD.pack(magic, version, xxhash.xxh64_intdigest(body)) + body


def unseal(magic: bytes, version: int, sealed: bytes) -> bytes:
    """The body, or `StateError` when it is something else, of another version, or damaged."""
    if len(sealed) < _HEAD.size or not sealed.startswith(magic):
        raise StateError("expected the saved state of a baseline, got something else or a cut-off part", remedy=_REMEDY)
    _, found, digest = _HEAD.unpack_from(sealed)
    if found != version:
        raise StateError(f"baseline state of version {found}, this program reads version {version}", remedy=_REMEDY)
    body = sealed[_HEAD.size :]
    if xxhash.xxh64_intdigest(body) != digest:
        raise StateError("baseline state is damaged: its digest does not match", remedy=_REMEDY)
    return body


def opened(magic: bytes, version: int, sealed: bytes, type_: type[S]) -> S:
    """The body as it was encoded; `StateError` also when it does not hold what it should."""
    try:
        return msgspec.msgpack.decode(unseal(magic, version, sealed), type=type_)
    except msgspec.MsgspecError as error:
        raise unusable(str(error)) from error


def unusable(why: str) -> StateError:
    """State that is whole and yet cannot be taken up."""
    return StateError(f"baseline state cannot be used: {why}", remedy=_REMEDY)
