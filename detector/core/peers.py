"""Peer groups: identities that do the same job, so that what they do is counted together. Pure.

A rule may declare its groups by globs over roles. Everybody else's group is the stem of the role's name: without the
numbers, hashes and suffixes that make one of many out of it. Session names count only where a rule declares that a
role is shared by people, since whoever may assume a role mostly chooses them, and where Identity Center sets them.

    analyst-032 → analyst        AWSReservedSSO_Analyst_4f6c1d2a9be03857 → AWSReservedSSO_Analyst
    prod-Stack-Role-1A2B3C4D5E6F → prod-Stack-Role
"""

from __future__ import annotations

import re
from functools import lru_cache

from detector.core.conditions import PRINCIPAL_FIELDS
from detector.core.globs import glob
from detector.core.principal import Principal, is_identity_center_role
from detector.core.rule import Peers

ACTING = ("role", "session_name")
"""Levels of `acting`, as many as its key has."""
_GENERATED = re.compile(r"[-_.,+=@]*(?:\d{8,}|(?=[a-f]*\d)[0-9a-f]{8,}|\d{8}T\d{6}Z?)\Z", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PIECE = re.compile(r"([-_.,+=@]*)([^-_.,+=@]+)")
_CDK_HASH = re.compile(r"(?<=[a-z])(?=[A-F]*\d)[0-9A-F]{8}\Z")
_TRAILING_NUMBER = re.compile(r"(?<=[A-Za-z]{3})\d+\Z")
_NUMBERS = re.compile(r"\d+|\d{8}T\d{6}Z?|(?=[a-f]*\d)[0-9a-f]{6,}|(?=[A-F]*\d)[0-9A-F]{6,}", re.ASCII)
_CAPITALS = re.compile(r"(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z\d]{6,}", re.ASCII)
_CHUNK = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", re.ASCII)
_MANY_CHUNKS = 5
"""Capitals, words and numbers that change so often within one word are no name: CloudFormation's random letters."""


def peer_group(who: Principal, declared: Peers = ()) -> str:
    """The first declared group that a role is of, else the stem of its name; what has no name is a group of its own."""
    return _of_role(PRINCIPAL_FIELDS["role"](who), who.role_shown, declared)


def acting(who: Principal, shared: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Whose habits these are: the role's, or of a role that people share each one's: `(role,)` or `(role, name)`.

    shared: globs of roles whose session names stand for people. Identity Center names sessions after their users.
    """
    return _acting(who.role, PRINCIPAL_FIELDS["role"](who), who.role_shown, who.session_name or "", shared)


@lru_cache(maxsize=1 << 15)
def _acting(
    role: str, texts: tuple[str | None, ...], shown: str, session_name: str, shared: tuple[str, ...]
) -> tuple[str, ...]:
    of_people = is_identity_center_role(shown) or any(text and _globs(shared).fullmatch(text) for text in texts)
    return (role, session_stem(session_name)) if session_name and of_people else (role,)


def session_stem(name: str) -> str:
    """A session name without the time, UUID or random digits that its maker appended; numbers of people stay.

    alice-1714550000 → alice        contractor-42 → contractor-42
    """
    return _GENERATED.sub("", _UUID.sub("", name)).strip("-_.,+=@") or name


@lru_cache(maxsize=1 << 15)
def _of_role(texts: tuple[str | None, ...], shown: str, declared: Peers) -> str:
    for name, patterns in declared:
        if any(text and _globs(patterns).fullmatch(text) for text in texts):
            return name
    return _by_name(shown)


@lru_cache(maxsize=1024)
def _globs(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return glob(patterns)


def _by_name(role: str) -> str:
    """By the ARN of a role or user. A user is never the peer of a role that happens to have the same name."""
    parts = role.split(":", 5)
    kind, _, path = parts[5].partition("/") if len(parts) == 6 and parts[0] == "arn" else ("", "", "")
    name = path.rpartition("/")[2]
    if not name or kind not in ("role", "assumed-role", "user", "federated-user"):
        return role
    return stem(name) if kind in ("role", "assumed-role") else f"{kind}/{stem(name)}"


def stem(name: str) -> str:
    """A name without what was generated: numbers, hashes, and what CloudFormation, CDK and Identity Center append.

    A name that is nothing else stays as it is.
    """
    kept = ""
    for number, (separator, word) in enumerate(_PIECE.findall(_UUID.sub("", name))):
        named = _CDK_HASH.sub("", word)
        if not _NUMBERS.fullmatch(named) and not (number and _is_random(named)):
            kept += separator + _TRAILING_NUMBER.sub("", named)
    return kept.lstrip("-_.,+=@") or name


def _is_random(word: str) -> bool:
    return bool(_CAPITALS.fullmatch(word)) or len(_CHUNK.findall(word)) >= _MANY_CHUNKS
