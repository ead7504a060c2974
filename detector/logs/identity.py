"""Who made a CloudTrail request: the contract's table of identity kinds. Pure.

Source: AWS CloudTrail user guide, "CloudTrail userIdentity element".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from detector.core.access import I32, U64, Index, Mask
from detector.core.builder import BatchBuilder
from detector.core.met import MARK
from detector.core.principal import UNKNOWN, Principal, account_of_arn, anonymous, prints_of, role_session, service
from detector.core.principals import Unread
from detector.core.times import epoch
from detector.logs.documents import UNDECODABLE, lenient
from detector.logs.members import Identities
from detector.logs.record import Attributes, Identity, Issuer, SessionContext

ANONYMOUS_ACCOUNTS = frozenset({"anonymous", "ANONYMOUS_PRINCIPAL"})

LATELY = 1 << 13
"""Identities that are kept as they were read."""


def people(who: Identities, into: BatchBuilder) -> I32:
    """Of each of these identities twice the code, plus one where the ARN is named; -1 if it is nobody, and only the
    address tells it from others. Only what is new to this process is read.
    """
    read: dict[int, Principal | None] = {}

    def named_now(new: Index) -> tuple[U64, Mask]:
        identities = [*map(decoded, who.texts(new))]
        found = [*map(_somebody, identities)]
        read.update(zip(new.tolist(), found, strict=True))
        prints = np.zeros(len(new), np.uint64)
        somebody = np.array([one is not None for one in found], np.bool_)
        prints[somebody] = np.frombuffer(prints_of([one for one in found if one is not None]), np.uint64)
        return prints, np.array([bool(identity.arn) for identity in identities], np.bool_)

    def principals(chosen: Index) -> list[Principal | Unread]:
        found = [read.get(at) for at in chosen.tolist()]
        texts = iter(who.texts(chosen[[one is None for one in found]]))
        return [one or Unread(principal, next(texts)) for one in found]

    return into.known(who.hashes | MARK, named_now, principals)


@lru_cache(maxsize=LATELY)
def principal(text: bytes) -> Principal:
    """An identity that is somebody; every batch anew asks for the same ones."""
    who, _ = named(text)
    if who is None:
        msg = "nobody is no principal"
        raise ValueError(msg)
    return who


def nobody(texts: Sequence[bytes], addresses: Sequence[str | None], into: BatchBuilder) -> I32:
    """Anonymous requests, as `people` tells who made requests."""
    codes = into.codes([anonymous(address or None) for address in addresses])
    return codes << 1 | np.array([named(text)[1] for text in texts], np.int32)


def named(text: bytes) -> tuple[Principal | None, bool]:
    """The principal, None if it is nobody and only the address tells it from others, and whether its ARN is named."""
    identity = decoded(text)
    return _somebody(identity), bool(identity.arn)


def _somebody(identity: Identity) -> Principal | None:
    return None if identity.accountId in ANONYMOUS_ACCOUNTS else _principal(identity)


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


def _issued_to(identity: Identity, context: SessionContext) -> str | None:
    """What AWS says the credentials were made for."""
    if context.ec2RoleDelivery:
        return "ec2"
    if identity.inScopeOf and identity.inScopeOf.issuerType:
        return identity.inScopeOf.issuerType[:100]
    return "web identity" if context.webIdFederationData else None


_NO_CONTEXT, _NO_ISSUER, _NO_ATTRIBUTES = SessionContext(), Issuer(), Attributes()
_seconds = lru_cache(maxsize=1 << 12)(epoch)
"""Many credentials are issued in the same second, and all of a session in the same."""


def _principal(identity: Identity) -> Principal:
    """The contract's table of identity kinds."""
    context = identity.sessionContext or _NO_CONTEXT
    issuer, attributes = context.sessionIssuer or _NO_ISSUER, context.attributes or _NO_ATTRIBUTES
    kind, principal_id, arn = identity.type, identity.principalId or None, identity.arn or None
    account, invoked_by = identity.accountId or None, identity.invokedBy or None
    on_behalf_of = identity.onBehalfOf.userId if identity.onBehalfOf else None
    other_id = on_behalf_of or identity.credentialId or identity.userName
    named = principal_id or arn or other_id or issuer.principalId or issuer.arn
    if kind == "AWSService" or (invoked_by and not named):
        return service(invoked_by or principal_id or UNKNOWN, account, kind or "AWSService")
    owner = account or (account_of_arn(arn) if arn else None) or UNKNOWN
    created, mfa = attributes.creationDate, attributes.mfaAuthenticated
    extra = (
        principal_id,
        identity.accessKeyId or None,
        _seconds(created) if created else None,
        context.sourceIdentity or None,
        None if mfa is None else mfa is True or mfa == "true",
        invoked_by,
        on_behalf_of or None,
        _issued_to(identity, context),
    )
    if kind == "AssumedRole" or (kind == "AWSAccount" and (principal_id or "").startswith("AROA")):
        of_role = role_session(principal_id, arn, issuer.principalId or None, issuer.arn or None, owner)
        session, session_shown, role, role_shown, name = of_role
        return Principal(kind, session, session_shown, role, role_shown, owner, name, *extra)
    name = arn or principal_id or other_id or f"{owner}:{kind or UNKNOWN}"
    if kind == "Role" and principal_id:
        return Principal(kind, principal_id, name, principal_id.partition(":")[0], name, owner, None, *extra)
    return Principal(kind or UNKNOWN, name, name, name, name, owner, None, *extra)
