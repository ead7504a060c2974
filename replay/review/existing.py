"""Which roles there are, by what the AWS command line wrote (`list-roles`, `get-account-authorization-details`).

Nothing is fetched here. What a person hands in is data: bounded, and refused as a whole if it is something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from detector.core.times import epoch
from detector.errors import InputError, UnreadablePathError
from detector.response.identity import Role, role_of

MOST = 256 << 20
"""Bytes of a list of roles."""
REMEDY = "write it with: aws iam list-roles > roles.json"


class _LastUsed(msgspec.Struct):
    date: str | None = msgspec.field(default=None, name="LastUsedDate")


class _Listed(msgspec.Struct):
    arn: str = msgspec.field(name="Arn")
    id: str = msgspec.field(default="", name="RoleId")
    created: str | None = msgspec.field(default=None, name="CreateDate")
    last_used: _LastUsed | None = msgspec.field(default=None, name="RoleLastUsed")


class _Answer(msgspec.Struct):
    roles: list[_Listed] | None = msgspec.field(default=None, name="Roles")
    details: list[_Listed] | None = msgspec.field(default=None, name="RoleDetailList")


class Existing(NamedTuple):
    """A role that there is. created, last_used: epoch seconds, of anything in AWS; None where the list does not say."""

    role: Role
    id: str
    created: int | None
    last_used: int | None


def existing(files: Iterable[Path]) -> list[Existing]:
    """The roles that these files list, each once. Raises InputError, UnreadablePathError."""
    found = {one.role.arn: one for file in files for one in _of(file)}
    return [found[arn] for arn in sorted(found)]


def _of(file: Path) -> list[Existing]:
    try:
        size, content = file.stat().st_size, b""
        if size <= MOST:
            content = file.read_bytes()
    except OSError as error:
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=str(file), remedy=REMEDY) from error
    if size > MOST:
        raise InputError(f"a list of roles of {size:,} bytes, at most {MOST:,} are read", where=str(file))
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"no list of roles: {error}", where=str(file), remedy=REMEDY) from error
    listed = answer.roles if answer.roles is not None else answer.details
    if listed is None:
        raise InputError("no list of roles: neither Roles nor RoleDetailList is in it", where=str(file), remedy=REMEDY)
    return [made for one in listed if (made := _made(one))]


def _made(one: _Listed) -> Existing | None:
    role = role_of(one.arn)
    if role is None:
        return None
    return Existing(role, one.id, epoch(one.created), epoch(one.last_used.date if one.last_used else None))
