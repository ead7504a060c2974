"""Who made a request: session → role → account. Pure.

A `Principal` is one set of credentials as one record names it. Identities are keyed by AWS's unique ids where the log
has them (an ARN can be reused after a role is deleted, a unique id cannot) and shown by ARN. The table of kinds below
is the contract's; every kind has a value at every level, so that no record falls out of a count.

Source of the shapes: AWS CloudTrail user guide, "CloudTrail userIdentity element"; S3 user guide, "Amazon S3 server
access log format" (requester).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

_ENCODE = msgspec.msgpack.Encoder().encode
ANONYMOUS = "anonymous"
UNKNOWN = "unknown"
DRILL_ACCOUNT = "000000000000"
"""The account of drills through a live daemon. AWS gives this number to nobody, so no thief can pass for a drill."""
IDENTITY_CENTER_NAME = "AWSReservedSSO_"
IDENTITY_CENTER_PATH = "role/aws-reserved/sso.amazonaws.com/"
"""IAM lets nobody else make a role below this path."""


class Principal(NamedTuple):
    """One identity with one set of credentials.

    `session`, `role`: unique keys, what is counted. `session_shown`, `role_shown`: what a person is shown.
    `type`: CloudTrail's userIdentity type, or `anonymous`, `service`, `unknown`. `issued_at`: epoch seconds the
    session's credentials were issued, or None. `principal_id`: for a role session exactly the value of `aws:userid`.
    `identity_center_user`: user id in the identity store, where the log says on whose behalf a session acts.
    `issued_to`: what AWS says the credentials were made for: `ec2`, `web identity`, or a type such as
    `AWS::Lambda::Function`.
    """

    type: str
    session: str
    session_shown: str
    role: str
    role_shown: str
    account: str
    session_name: str | None = None
    principal_id: str | None = None
    access_key: str | None = None
    issued_at: int | None = None
    source_identity: str | None = None
    mfa: bool | None = None
    invoked_by: str | None = None
    identity_center_user: str | None = None
    issued_to: str | None = None


def fingerprint(parts: tuple[object, ...]) -> int:
    """A 64-bit identity of text that an attacker may choose (session names): a cut of BLAKE2b, so nobody can aim it.

    A fast hash would let a thief name a session so that it falls together with somebody else's.
    """
    return int.from_bytes(blake2b(_encoded(parts), digest_size=8).digest(), "little")


def fingerprints(each: Sequence[tuple[object, ...]]) -> bytes:
    """`fingerprint` of each, as 8 bytes, the lowest first."""
    try:
        texts = [*map(_ENCODE, each)]
    except UnicodeEncodeError:
        texts = [*map(_encoded, each)]
    return b"".join([blake2b(text, digest_size=8).digest() for text in texts])


def _encoded(parts: tuple[object, ...]) -> bytes:
    try:
        return _ENCODE(parts)
    except UnicodeEncodeError:  # a lone surrogate
        return _ENCODE(str(parts).encode("utf-8", "backslashreplace"))


def print_of(who: Principal) -> int:
    """A principal's fingerprint. A field that came later is left out where it is null: older checkpoints stay right."""
    return int.from_bytes(prints_of([who]), "little")


def prints_of(people: Iterable[Principal]) -> bytes:
    """`print_of` of each, as 8 bytes, the lowest first."""
    return fingerprints([who if who.issued_to is not None else who[:-1] for who in people])


def role_session(
    principal_id: str | None,
    arn: str | None,
    issuer_id: str | None,
    issuer_arn: str | None,
    account: str | None,
) -> tuple[str, str, str, str, str | None]:
    """Keys and displays of an assumed-role session: (session, session_shown, role, role_shown, session_name).

    A foreign role's session (CloudTrail type AWSAccount) has a principalId and an account, nothing else.
    """
    owner = account or UNKNOWN
    role_id, _, name = (principal_id or "").partition(":")
    if not name and arn and ":assumed-role/" in arn and arn.count("/") >= 2:
        name = arn.rsplit("/", 1)[1]
    session = principal_id or arn or f"{owner}:{issuer_id or UNKNOWN}"
    role = role_id or issuer_id or issuer_arn or (role_of_assumed_arn(arn) if arn else None) or session
    session_shown = arn or f"{owner}:{session}"
    role_shown = issuer_arn or (role_of_assumed_arn(arn) if arn and not role_id else None) or f"{owner}:{role}"
    return session, session_shown, role, role_shown, name or None


def role_of_assumed_arn(arn: str) -> str:
    """`arn:aws:sts::1:assumed-role/Role/name` without the session name; any other text as it is."""
    if ":assumed-role/" in arn and arn.count("/") >= 2:
        return arn.rsplit("/", 1)[0]
    return arn


def person(who: Principal) -> str:
    """The human behind credentials: source identity, else Identity Center user; with neither, the session.

    Identity Center names the sessions of its own roles after their user; any other session name is whatever a thief
    chose.
    """
    of_user = who.session_name if is_identity_center_role(who.role_shown) else None
    return who.source_identity or who.identity_center_user or of_user or who.session


def is_identity_center_role(role: str) -> bool:
    """Whether a role's ARN is one that IAM Identity Center keeps; a session's ARN lacks the path that says so."""
    resource = role.split(":", 5)[-1]
    return resource.startswith((IDENTITY_CENTER_PATH, f"assumed-role/{IDENTITY_CENTER_NAME}"))


def account_of_arn(arn: str) -> str | None:
    """The account id inside an ARN of any partition, or None."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 and parts[0] == "arn" and parts[4] else None


def service(name: str, account: str | None, type_: str = "AWSService") -> Principal:
    """An AWS service acting for itself."""
    who = f"service:{name}"
    return Principal(type_, who, who, who, who, account or who, invoked_by=name)


def anonymous(address: str | None) -> Principal:
    """A request without credentials: one session an address, one role for all."""
    who = f"{ANONYMOUS}@{address or UNKNOWN}"
    return Principal(ANONYMOUS, who, who, ANONYMOUS, ANONYMOUS, ANONYMOUS)
