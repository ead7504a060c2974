"""Who made a CloudTrail request: the contract's table of identity kinds. Pure.

Source: AWS CloudTrail user guide, "CloudTrail userIdentity element".
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from detector.core.access import I32, U64, Index
from detector.core.builder import BatchBuilder
from detector.core.principal import UNKNOWN, Principal, account_of_arn, anonymous, print_of, role_session, service
from detector.core.principals import Unread
from detector.core.times import epoch
from detector.logs.documents import UNDECODABLE, lenient
from detector.logs.members import Identities
from detector.logs.record import Identity
from detector.logs.remembered import MARK, Fingerprints

ANONYMOUS_ACCOUNTS = frozenset({"anonymous", "ANONYMOUS_PRINCIPAL"})

LATELY = 1 << 13
"""Identities that are kept as they were read."""

_fingerprints = Fingerprints()
"""Of identities that have an ARN."""


def people(who: Identities, into: BatchBuilder) -> I32:
    """Of each of these identities twice the code, plus one where the ARN is named; -1 if it is nobody, and only the
    address tells it from others.
    """
    hashes = who.hashes | MARK
    return into.known(hashes, lambda new: _met(who, new, hashes[new], into))


def _met(who: Identities, chosen: Index, hashes: U64, into: BatchBuilder) -> I32:
    """The same of those that are new to the batch. Only what is new to us is read."""
    prints = _fingerprints.of(hashes)
    new = np.flatnonzero(prints == 0)
    codes = np.empty(len(prints), np.int32)
    read: dict[int, Principal] = {}
    for at, text in zip(new.tolist(), who.texts(chosen[new]), strict=True):
        one, has_arn = named(text)
        if one is None:
            codes[at] = -1
        elif has_arn:
            read[at], prints[at] = one, print_of(one)
        else:
            codes[at] = into.code(one) << 1
    named_now = np.fromiter(read, np.intp, len(read))
    _fingerprints.remember(hashes[named_now], prints[named_now])
    known = np.flatnonzero(prints)

    def principals(rows: list[int]) -> list[Principal | Unread]:
        at = known[rows]
        return [
            read.get(i) or Unread(principal, text) for i, text in zip(at.tolist(), who.texts(chosen[at]), strict=True)
        ]

    codes[known] = np.array(into.codes_of(prints[known].tolist(), principals), np.int32) << 1 | 1
    return codes


@lru_cache(maxsize=LATELY)
def principal(text: bytes) -> Principal:
    """An identity that is somebody; every batch anew asks for the same ones."""
    who, _ = named(text)
    if who is None:
        msg = "nobody is no principal"
        raise ValueError(msg)
    return who


def nobody(text: bytes, address: str | None, into: BatchBuilder) -> int:
    """An anonymous request, as `who` tells who made a request."""
    return into.code(anonymous(address or None)) << 1 | named(text)[1]


def named(text: bytes) -> tuple[Principal | None, bool]:
    """The principal, None if it is nobody and only the address tells it from others, and whether its ARN is named."""
    identity = decoded(text)
    nobody = identity.accountId in ANONYMOUS_ACCOUNTS
    return None if nobody else _principal(identity), bool(identity.arn)


@lru_cache(maxsize=1024)
def account(text: bytes) -> str:
    """The account of the caller."""
    return decoded(text).accountId or ""


_IDENTITY = msgspec.json.Decoder(Identity | None)


def decoded(text: bytes) -> Identity:
    """A `userIdentity`; members of the wrong type are null."""
    try:
        return _IDENTITY.decode(text) or Identity()
    except UNDECODABLE:
        return lenient(text, Identity)


def _issued_to(identity: Identity) -> str | None:
    """What AWS says the credentials were made for."""
    context = identity.sessionContext
    if context and context.ec2RoleDelivery:
        return "ec2"
    if identity.inScopeOf and identity.inScopeOf.issuerType:
        return identity.inScopeOf.issuerType[:100]
    return "web identity" if context and context.webIdFederationData else None


def _principal(identity: Identity) -> Principal:
    """The contract's table of identity kinds."""
    context = identity.sessionContext
    issuer = context.sessionIssuer if context else None
    attributes = context.attributes if context else None
    kind, principal_id, arn = identity.type, identity.principalId or None, identity.arn or None
    account, invoked_by = identity.accountId or None, identity.invokedBy or None
    issued_by = (issuer.principalId or None, issuer.arn or None) if issuer else (None, None)
    on_behalf_of = identity.onBehalfOf.userId if identity.onBehalfOf else None
    other_id = on_behalf_of or identity.credentialId or identity.userName
    created, mfa = (attributes.creationDate, attributes.mfaAuthenticated) if attributes else (None, None)
    if kind == "AWSService" or (invoked_by and not (principal_id or arn or other_id or any(issued_by))):
        return service(invoked_by or principal_id or UNKNOWN, account, kind or "AWSService")
    owner = account or (account_of_arn(arn) if arn else None) or UNKNOWN
    extra = (
        principal_id,
        identity.accessKeyId or None,
        epoch(created) if created else None,
        (context.sourceIdentity if context else None) or None,
        None if mfa is None else mfa in (True, "true"),
        invoked_by,
        on_behalf_of or None,
        _issued_to(identity),
    )
    if kind == "AssumedRole" or (kind == "AWSAccount" and (principal_id or "").startswith("AROA")):
        session, session_shown, role, role_shown, name = role_session(principal_id, arn, *issued_by, owner)
        return Principal(kind, session, session_shown, role, role_shown, owner, name, *extra)
    name = arn or principal_id or other_id or f"{owner}:{kind or UNKNOWN}"
    if kind == "Role" and principal_id:
        return Principal(kind, principal_id, name, principal_id.partition(":")[0], name, owner, None, *extra)
    return Principal(kind or UNKNOWN, name, name, name, name, owner, None, *extra)
