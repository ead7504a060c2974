"""A CloudTrail record as it is decoded: the members the detector reads, all optional. Pure.

`Record` names all of them. What a parser decodes is a `Shape` of it: with the members that the asked columns need, the
identity left as JSON text (`identity.py` knows most of these texts already). What nobody asks for is only skipped.

Source of the shapes: AWS CloudTrail user guide, "CloudTrail record contents", "userIdentity element"; Amazon S3 user
guide, "Amazon S3 CloudTrail events".
"""
# ruff: noqa: N815  fields are spelled as CloudTrail spells them

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from detector.core.access import COLUMNS


class Issuer(msgspec.Struct, gc=False):
    principalId: str | None = None
    arn: str | None = None
    accountId: str | None = None
    userName: str | None = None


class Attributes(msgspec.Struct, gc=False):
    creationDate: str | None = None
    mfaAuthenticated: str | bool | None = None


class SessionContext(msgspec.Struct, gc=False):
    sessionIssuer: Issuer | None = None
    webIdFederationData: dict[str, Any] | None = None
    attributes: Attributes | None = None
    sourceIdentity: str | None = None
    ec2RoleDelivery: str | None = None


class Delegate(msgspec.Struct, gc=False):
    userId: str | None = None


class Scope(msgspec.Struct, gc=False):
    issuerType: str | None = None


class Identity(msgspec.Struct, gc=False):
    type: str | None = None
    principalId: str | None = None
    arn: str | None = None
    accountId: str | None = None
    accessKeyId: str | None = None
    userName: str | None = None
    invokedBy: str | None = None
    sessionContext: SessionContext | None = None
    onBehalfOf: Delegate | None = None
    credentialId: str | None = None
    inScopeOf: Scope | None = None


class Context(msgspec.Struct, gc=False):
    s3_arn: str | list[str] | None = msgspec.field(default=None, name="aws:s3:arn")


class Parameters(msgspec.Struct, gc=False):
    """Those of type Any are settings, of whatever form (`changes.py`)."""

    bucketName: str | None = None
    key: str | None = None
    copy_source: str | None = msgspec.field(default=None, name="x-amz-copy-source")
    versionId: str | None = None
    signed_at: str | None = msgspec.field(default=None, name="X-Amz-Date")
    signed_for: str | int | None = msgspec.field(default=None, name="X-Amz-Expires")
    keyId: str | None = None
    sse_key: str | None = msgspec.field(default=None, name="x-amz-server-side-encryption-aws-kms-key-id")
    encryptionContext: Context | None = None
    acl: Any = msgspec.field(default=None, name="x-amz-acl")
    grant_read: Any = msgspec.field(default=None, name="x-amz-grant-read")
    grant_read_acp: Any = msgspec.field(default=None, name="x-amz-grant-read-acp")
    grant_write: Any = msgspec.field(default=None, name="x-amz-grant-write")
    grant_write_acp: Any = msgspec.field(default=None, name="x-amz-grant-write-acp")
    grant_all: Any = msgspec.field(default=None, name="x-amz-grant-full-control")
    accessControlList: Any = None
    AccessControlPolicy: Any = None
    bucketPolicy: Any = None
    policy: Any = None
    PublicAccessBlockConfiguration: Any = None
    OwnershipControls: Any = None
    ServerSideEncryptionConfiguration: Any = None
    VersioningConfiguration: Any = None
    LifecycleConfiguration: Any = None
    BucketLoggingStatus: Any = None
    ReplicationConfiguration: Any = None
    ObjectLockConfiguration: Any = None
    LegalHold: Any = None
    bypass: Any = msgspec.field(default=None, name="x-amz-bypass-governance-retention")
    CreateAccessPointRequest: Any = None
    isMultiRegionTrail: Any = None
    includeGlobalServiceEvents: Any = None
    isOrganizationTrail: Any = None
    enableLogFileValidation: Any = None
    eventSelectors: Any = None
    advancedEventSelectors: Any = None


SETTINGS = frozenset(one.name for one in msgspec.structs.fields(Parameters) if one.type is Any)
"""Parameters of calls that change settings."""


class Begun(msgspec.Struct, gc=False):
    began: str | None = msgspec.field(default=None, name="assumedRoleId")
    began_arn: str | None = msgspec.field(default=None, name="arn")


class Issued(msgspec.Struct, gc=False):
    began_key: str | None = msgspec.field(default=None, name="accessKeyId")


class Answer(msgspec.Struct, gc=False):
    assumedRoleUser: Begun | None = None
    credentials: Issued | None = None
    used_key: str | None = msgspec.field(default=None, name="x-amz-server-side-encryption-aws-kms-key-id")


class Additional(msgspec.Struct, gc=False):
    SSEApplied: str | None = None
    AuthenticationMethod: str | None = None
    id2: str | None = msgspec.field(default=None, name="x-amz-id-2")
    bytesTransferredOut: float | None = None


class Resource(msgspec.Struct, gc=False):
    type: str | None = None
    ARN: str | None = None
    accountId: str | None = None


class Tls(msgspec.Struct, gc=False):
    tlsVersion: str | None = None


class Addendum(msgspec.Struct, gc=False):
    originalEventID: str | None = None


class Record(msgspec.Struct, gc=False):
    """Members in the order in which CloudTrail writes them: the decoder expects the next one next."""

    userIdentity: Identity | None = None
    eventTime: str | None = None
    eventSource: str | None = None
    eventName: str | None = None
    awsRegion: str | None = None
    sourceIPAddress: str | None = None
    userAgent: str | None = None
    errorCode: str | None = None
    requestParameters: Parameters | None = None
    responseElements: Answer | None = None
    additionalEventData: Additional | None = None
    requestID: str | None = None
    eventID: str | None = None
    resources: list[Resource] | None = None
    eventType: str | None = None
    recipientAccountId: str | None = None
    sharedEventID: str | None = None
    vpcEndpointId: str | None = None
    addendum: Addendum | None = None
    eventCategory: str | None = None
    tlsDetails: Tls | None = None
    eventId: str | None = None
    timestamp: str | None = msgspec.field(default=None, name="@timestamp")


ALWAYS = frozenset(
    {
        "eventTime", "timestamp", "eventSource", "eventName", "sourceIPAddress", "errorCode", "eventID", "eventId",
        "sharedEventID", "addendum", "eventType", "eventCategory", "userIdentity", "requestParameters", "bucketName",
        "copy_source", "encryptionContext",
    }
)  # fmt: skip
"""Members that classify a record, name it, and tell who made it, when, and whether its bucket is shown."""

LINK = "link"
"""What a copy and the read that AWS makes for it have in common: decoded only where there are such."""

FOR_COLUMN = {
    "bucket": {"resources", "key"},
    "key": {"resources", "key"},
    "destination": {"resources", "key", "ReplicationConfiguration"},
    "bucket_account": {"resources", "key"},
    "destination_account": {"resources", "key", "ReplicationConfiguration"},
    "destination_key": {"resources", "key"},
    "began": {"responseElements", "assumedRoleUser"},
    "began_arn": {"responseElements", "assumedRoleUser"},
    "began_key": {"responseElements", "credentials"},
    "change": SETTINGS | {"resources", "recipientAccountId"},
    "access_point": {"resources", "key"},
    "bytes": {"additionalEventData", "bytesTransferredOut"},
    LINK: {"additionalEventData", "id2"},
    "partition": {"awsRegion", "recipientAccountId"},
    "region": {"awsRegion"},
    "user_agent": {"userAgent"},
    "auth": {"additionalEventData", "AuthenticationMethod"},
    "request_id": {"requestID"},
    "vpc_endpoint": {"vpcEndpointId"},
    "tls": {"tlsDetails"},
    "sse": {"additionalEventData", "SSEApplied"},
    "kms_key": {"resources", "keyId", "sse_key", "responseElements", "used_key"},
    "version_id": {"versionId"},
    "signed_at": {"signed_at"},
    "signed_for": {"signed_for"},
}
"""Column → the members it is made of, beyond those always decoded."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Decoders of records with the members that some columns need. What they give looks like `Record`, but for
    `userIdentity`, which is the JSON text.
    """

    columns: frozenset[str]
    struct: type[msgspec.Struct]
    record: msgspec.json.Decoder[Any]
    array: msgspec.json.Decoder[Any]
    file: msgspec.json.Decoder[Any]

    def of(self, whole: Record) -> Any:
        """A whole record in this shape."""
        return self.record.decode(msgspec.json.encode(whole))


@lru_cache(maxsize=64)
def shape(columns: frozenset[str]) -> Shape:
    """The shape that these columns need."""
    members = ALWAYS.union(*(FOR_COLUMN.get(column, ()) for column in columns))
    parts = {
        "userIdentity": msgspec.Raw,
        "requestParameters": Parameters,
        "responseElements": Answer,
        "additionalEventData": Additional,
    }
    cut = {name: _cut(part, members) if part is not msgspec.Raw else part for name, part in parts.items()}
    record = _cut(Record, members, cut)
    array: Any = list[record]  # type: ignore[valid-type]  # a type made at run time
    file = msgspec.defstruct("File", [("Records", array)], gc=False)
    return Shape(columns, record, msgspec.json.Decoder(record), msgspec.json.Decoder(array), msgspec.json.Decoder(file))


NO_IDENTITY = msgspec.Raw(b"null")


def _cut(whole: type[msgspec.Struct], members: frozenset[str], parts: dict[str, Any] | None = None) -> Any:
    """The struct with these members only; `parts`: members of another type."""
    fields: list[Any] = []
    for one in msgspec.structs.fields(whole):
        if one.name in members:
            part = (parts or {}).get(one.name)
            default = NO_IDENTITY if part is msgspec.Raw else None
            type_ = one.type if part is None else part if part is msgspec.Raw else part | None
            fields.append((one.name, type_, msgspec.field(default=default, name=one.encode_name)))
    return msgspec.defstruct(whole.__name__, fields, gc=False)


WHOLE = shape(COLUMNS | {LINK})
