"""Fields of CloudTrail records that a Sigma rule may ask for, and what of an access record holds them. Pure.

Names are CloudTrail's, as in SigmaHQ's rules for `aws/cloudtrail`. What is not here no access record has: a rule that
asks for it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from detector.core.access import Operation
from detector.core.fields import Level, Measure
from detector.core.operation import API_NAMES, CLASS
from detector.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Field:
    """column: of the batch, or of_principal: of who asked. level, measure: what it is in a correlation.

    derived: not the column's text itself. `agent`: with the brackets that S3 puts round it, and without them.
    """

    column: str = ""
    of_principal: Callable[[Principal], str | None] | None = None
    level: Level | None = None
    measure: Measure | None = None
    derived: Literal["", "source", "error", "agent"] = ""


def _mfa(who: Principal) -> str | None:
    return None if who.mfa is None else str(who.mfa).lower()


FIELDS: dict[str, Field] = {
    "eventName": Field("api"),
    "eventSource": Field("api", derived="source"),
    "errorCode": Field("error_code", derived="error"),
    "awsRegion": Field("region"),
    "sourceIPAddress": Field("source_ip", level="source_ip", measure="source_ips"),
    "userAgent": Field("user_agent", derived="agent"),
    "vpcEndpointId": Field("vpc_endpoint", level="vpc_endpoint"),
    "requestParameters.bucketName": Field("bucket", level="bucket", measure="buckets"),
    "requestParameters.key": Field("key", measure="objects"),
    "tlsDetails.tlsVersion": Field("tls"),
    "userIdentity.type": Field(of_principal=lambda who: who.type),
    "userIdentity.arn": Field(
        of_principal=lambda who: who.session_shown if who.session_shown.startswith("arn:") else None,
        level="session",
        measure="sessions",
    ),
    "userIdentity.principalId": Field(of_principal=lambda who: who.principal_id, level="session", measure="sessions"),
    "userIdentity.accountId": Field(
        of_principal=lambda who: who.account if who.account.isdigit() else None, level="account"
    ),
    "userIdentity.accessKeyId": Field(of_principal=lambda who: who.access_key, level="access_key"),
    "userIdentity.invokedBy": Field(of_principal=lambda who: who.invoked_by),
    "userIdentity.sessionContext.sessionIssuer.arn": Field(
        of_principal=lambda who: who.role_shown if who.type == "AssumedRole" else None, level="role", measure="roles"
    ),
    "userIdentity.sessionContext.attributes.mfaAuthenticated": Field(of_principal=_mfa),
}

S3 = "s3.amazonaws.com"
SOURCES = (S3, "kms.amazonaws.com", "sts.amazonaws.com", "cloudtrail.amazonaws.com")
"""What an access record can be of. S3's own source stands for all that are S3's (Express, Outposts, Object Lambda)."""

OF_CLOUDTRAIL = frozenset(
    {
        "CreateTrail", "UpdateTrail", "DeleteTrail", "StartLogging", "StopLogging", "PutEventSelectors",
        "PutInsightSelectors", "PutEventConfiguration", "UpdateEventDataStore", "DeleteEventDataStore",
        "StopEventDataStoreIngestion",
    }
)  # fmt: skip
OF_KMS = frozenset({"Decrypt", "Encrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"})
KNOWN_CALLS = frozenset({*API_NAMES, *OF_KMS})
"""Calls that an access record may be of, as far as they are known by name."""


def source_of(api: str | None) -> str | None:
    """The event source of a call."""
    if api is None:
        return None
    if api in OF_CLOUDTRAIL:
        return SOURCES[3]
    if api in OF_KMS:
        return SOURCES[1]
    return SOURCES[2] if CLASS.get(api) == Operation.assume else S3
