"""A CloudTrail record as it is decoded: the members the detector reads, all optional. Pure.

Source of the shapes: AWS CloudTrail user guide, "CloudTrail record contents", "userIdentity element"; Amazon S3 user
guide, "Amazon S3 CloudTrail events".
"""
# ruff: noqa: N815  fields are spelled as CloudTrail spells them

from __future__ import annotations

import msgspec


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
    attributes: Attributes | None = None
    sourceIdentity: str | None = None


class Delegate(msgspec.Struct, gc=False):
    userId: str | None = None


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


class Context(msgspec.Struct, gc=False):
    s3_arn: str | list[str] | None = msgspec.field(default=None, name="aws:s3:arn")


class Parameters(msgspec.Struct, gc=False):
    bucketName: str | None = None
    key: str | None = None
    copy_source: str | None = msgspec.field(default=None, name="x-amz-copy-source")
    versionId: str | None = None
    signed_at: str | None = msgspec.field(default=None, name="X-Amz-Date")
    signed_for: str | int | None = msgspec.field(default=None, name="X-Amz-Expires")
    keyId: str | None = None
    sse_key: str | None = msgspec.field(default=None, name="x-amz-server-side-encryption-aws-kms-key-id")
    encryptionContext: Context | None = None


class Additional(msgspec.Struct, gc=False):
    bytesTransferredOut: float | None = None
    AuthenticationMethod: str | None = None
    SSEApplied: str | None = None
    id2: str | None = msgspec.field(default=None, name="x-amz-id-2")


class Resource(msgspec.Struct, gc=False):
    type: str | None = None
    ARN: str | None = None
    accountId: str | None = None


class Tls(msgspec.Struct, gc=False):
    tlsVersion: str | None = None


class Addendum(msgspec.Struct, gc=False):
    originalEventID: str | None = None


class Record(msgspec.Struct, gc=False):
    eventTime: str | None = None
    timestamp: str | None = msgspec.field(default=None, name="@timestamp")
    eventSource: str | None = None
    eventName: str | None = None
    awsRegion: str | None = None
    sourceIPAddress: str | None = None
    userAgent: str | None = None
    errorCode: str | None = None
    requestID: str | None = None
    eventID: str | None = None
    eventId: str | None = None
    sharedEventID: str | None = None
    addendum: Addendum | None = None
    eventType: str | None = None
    eventCategory: str | None = None
    recipientAccountId: str | None = None
    vpcEndpointId: str | None = None
    userIdentity: Identity | None = None
    requestParameters: Parameters | None = None
    additionalEventData: Additional | None = None
    resources: list[Resource] | None = None
    tlsDetails: Tls | None = None
