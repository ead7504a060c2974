"""Who made a CloudTrail request: the contract's table of identity kinds. Pure.

Source: AWS CloudTrail user guide, "CloudTrail userIdentity element".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from detector.core.principal import UNKNOWN, Principal, account_of_arn, anonymous, role_session, service
from detector.core.times import epoch
from detector.logs.record import Identity, Record

ANONYMOUS_ACCOUNTS = frozenset({"anonymous", "ANONYMOUS_PRINCIPAL"})


def principal(record: Record) -> Principal:
    """Who made the request: the contract's table of identity kinds."""
    identity = record.userIdentity or _NOBODY
    context = identity.sessionContext
    issuer = context.sessionIssuer if context else None
    attributes = context.attributes if context else None
    return _principal(
        identity.type,
        identity.principalId or None,
        identity.arn or None,
        identity.accountId or None,
        identity.accessKeyId or None,
        identity.invokedBy or None,
        (issuer.principalId or None, issuer.arn or None) if issuer else (None, None),
        attributes.creationDate if attributes else None,
        attributes.mfaAuthenticated if attributes else None,
        context.sourceIdentity if context else None,
        (identity.onBehalfOf.userId if identity.onBehalfOf else None) or identity.credentialId or identity.userName,
        record.sourceIPAddress if identity.accountId in ANONYMOUS_ACCOUNTS else None,
    )


_NOBODY = Identity()


@lru_cache(maxsize=65_536)
def _principal(
    kind: str | None,
    principal_id: str | None,
    arn: str | None,
    account: str | None,
    access_key: str | None,
    invoked_by: str | None,
    issuer: tuple[str | None, str | None],
    created: str | None,
    mfa: str | bool | None,
    source_identity: str | None,
    other_id: str | None,
    address: str | None,
) -> Principal:
    if account in ANONYMOUS_ACCOUNTS:
        return anonymous(address)
    if kind == "AWSService" or (invoked_by and not (principal_id or arn or other_id or any(issuer))):
        return service(invoked_by or principal_id or UNKNOWN, account, kind or "AWSService")
    owner = account or (account_of_arn(arn) if arn else None) or UNKNOWN
    extra: dict[str, Any] = {
        "principal_id": principal_id,
        "access_key": access_key,
        "issued_at": epoch(created) if created else None,
        "source_identity": source_identity or None,
        "mfa": None if mfa is None else mfa in (True, "true"),
        "invoked_by": invoked_by,
    }
    if kind == "AssumedRole" or (kind == "AWSAccount" and (principal_id or "").startswith("AROA")):
        session, session_shown, role, role_shown, name = role_session(principal_id, arn, *issuer, owner)
        return Principal(kind, session, session_shown, role, role_shown, owner, session_name=name, **extra)
    name = arn or principal_id or other_id or f"{owner}:{kind or UNKNOWN}"
    if kind == "Role" and principal_id:
        return Principal(kind, principal_id, name, principal_id.partition(":")[0], name, owner, **extra)
    return Principal(kind or UNKNOWN, name, name, name, name, owner, **extra)
