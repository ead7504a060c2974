"""Which records a rule counts: the fields of `where`, checked. Pure; `select.py` makes masks of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from detector.core.access import Operation
from detector.core.addresses import AddressList, AddressLists, joined, network
from detector.core.fields import Change, Duration, Model, Texts, texts

OPERATIONS = tuple(op.name for op in Operation)
_LIST_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.txt"
LIST_NAME = re.compile(rf"(?<![\w./-]){_LIST_NAME}(?![\w/-])", re.ASCII)
"""Name of a file beside the rule file: no path."""
_DATE_PARTS = ("yyyy", "mm", "dd")

OF_LISTS = ".txt"
BESIDE = "beside"
"""Name in the validation's context of what stands beside the rule file."""


class Beside(Protocol):
    """Lists by name."""

    def __contains__(self, name: str) -> bool: ...
    def __getitem__(self, name: str) -> AddressList: ...


def _lists(value: object, info: ValidationInfo) -> AddressLists:
    """The lists that are named, as far as they stand beside the rule file."""
    beside: Beside = (info.context or {}).get(BESIDE, {})
    names = (value,) if isinstance(value, str) else value
    if isinstance(names, AddressLists):
        return names
    if not isinstance(names, tuple | list) or not names:
        msg = f"expected the name of a file such as bad-addresses.txt, got {names!r}"
        raise ValueError(msg)
    for name in names:
        if not isinstance(name, str) or not LIST_NAME.fullmatch(name):
            msg = f"expected the name of a file beside this one, ending in .txt, got {name!r}"
            raise ValueError(msg)
        if name not in beside:
            msg = f"expected a file beside this one, found no '{name}'"
            raise ValueError(msg)
    return joined({name: beside[name] for name in names})


Lists = Annotated[
    AddressLists,
    PlainValidator(_lists),
    PlainSerializer(lambda lists: {"names": lists.names, "digest": lists.digest}, when_used="json"),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": f"^{_LIST_NAME}$"},
        }
    ),
]


class Retention(Model):
    """Objects whose key says their date, and how long they may be kept after it.

    `key`: globs in which `{yyyy}`, `{mm}` and `{dd}` stand for the digits of a date; without a day the month counts.
    """

    key: Texts
    keep: Duration

    @field_validator("key")
    @classmethod
    def _dated(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            named = re.findall(r"\{([^}]*)\}", pattern)
            unknown = [name for name in named if name not in _DATE_PARTS]
            if unknown or "yyyy" not in named or ("dd" in named and "mm" not in named):
                msg = f"expected {{yyyy}}, perhaps {{mm}}, perhaps {{dd}} in the key, got '{pattern}'"
                raise ValueError(msg)
        return value


class Conditions(Model):
    """All given fields must hold; a list means "any of"; globs where text is compared.

    In `key`, `*` stays within one `/` segment and `**` crosses; in every other field `*` matches anything.
    """

    operation: Texts | None = None
    """classes or API names, see below"""
    outcome: Annotated[tuple[Literal["success", "denied", "error", "any"], ...], BeforeValidator(texts)] | None = None
    """`success` (2xx, or no error code; the default), `denied` (401, 403, AccessDenied, Unauthorized), `error` (all
    else, 304 and 404 among it), `any`"""
    error_code: Texts | None = None
    """the error code, as the log has it"""
    change: Annotated[tuple[Change, ...], BeforeValidator(texts), Field(min_length=1)] | None = None
    """what a call that changes settings does, see below (CloudTrail only)"""
    bucket: Texts | None = None
    """the bucket's name; of a copy, the source's"""
    bucket_account: Texts | None = None
    """the account that owns the bucket (CloudTrail only)"""
    key: Texts | None = None
    """the object's key"""
    version_id: Texts | None = None
    """the version that was asked for: `"*"` stands for any that was named"""
    retention: Retention | None = None
    """objects that are read after their time, see below"""
    session: Texts | None = None
    """the session's ARN, or its principal id (`AROA…:name`)"""
    role: Texts | None = None
    """the role's ARN, or its id; for users the user's ARN"""
    account: Texts | None = None
    """the account id of who asked"""
    account_is: Literal["own", "foreign"] | None = None
    """`own` or `foreign`: whether who asked is of the account that owns the bucket; anonymous requests and AWS
    services are neither (CloudTrail only)"""
    session_name: Texts | None = None
    """what follows the role in a session's ARN"""
    principal_type: Texts | None = None
    """`AssumedRole`, `IAMUser`, `Root`, `FederatedUser`, `AWSAccount`, `AWSService`, `anonymous`, `Application`, …"""
    issued_to: Texts | None = None
    """what AWS made the credentials for: `ec2`, `web identity`, `AWS::Lambda::Function`, …; `nobody` where it does
    not say (CloudTrail only)"""
    access_key: Texts | None = None
    """the access key's id: `AKIA*` is a long-lived one (CloudTrail only)"""
    source_identity: Texts | None = None
    """the source identity of a session (CloudTrail only)"""
    mfa: bool | None = None
    """`true` or `false`: whether the session was begun with a second factor, where the log says (CloudTrail only)"""
    invoked_by: Texts | None = None
    """the AWS service that made the call, such as `athena.amazonaws.com`"""
    session_age_over: Duration | None = None
    """a duration: the session's credentials were issued longer ago (CloudTrail only)"""
    source_ip: Texts | None = None
    """the address, as text or glob, or a network such as `203.0.113.0/24`"""
    source_ip_in: Lists | None = None
    """files with addresses, see below"""
    user_agent: Texts | None = None
    """the user agent"""
    region: Texts | None = None
    """the region"""
    vpc_endpoint: Texts | None = None
    """the VPC endpoint's id (CloudTrail only)"""
    access_point: Texts | None = None
    """the access point's ARN"""
    destination: Texts | None = None
    """the bucket a copy went to, or that a replication is to go to (CloudTrail only)"""
    destination_account: Texts | None = None
    """the account that owns that bucket (CloudTrail only)"""
    destination_is: Literal["own", "foreign"] | None = None
    """`own` or `foreign`: whether who asked is of that account (CloudTrail only)"""
    auth: Texts | None = None
    """`header`, `query` (pre-signed URLs) or `none`"""
    signed_for_over: Duration | None = None
    """a duration: a pre-signed URL was to hold for longer"""
    signed_age_over: Duration | None = None
    """a duration: a pre-signed URL was signed longer ago"""
    tls: Texts | None = None
    """the TLS version"""
    sse: Texts | None = None
    """how the object is encrypted: `SSE_S3`, `SSE_KMS`, `SSE_C`, `Default_SSE_S3`, `Default_SSE_KMS` (CloudTrail
    only)"""
    kms_key: Texts | None = None
    """the KMS key's ARN that S3 used, or that was asked for (CloudTrail only)"""
    purpose: Texts | None = None
    """why, as the application's audit log says; only with `log: access_audit`"""

    @field_validator("operation")
    @classmethod
    def _known_operation(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name.islower() and name not in OPERATIONS:
                msg = f"expected a class ({', '.join(OPERATIONS)}) or an API name such as GetObject, got '{name}'"
                raise ValueError(msg)
        return value

    @field_validator("source_ip")
    @classmethod
    def _known_network(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            if "/" in text:
                try:
                    network(text)
                except ValueError:
                    msg = f"expected an address, a glob or a network such as 203.0.113.0/24, got '{text}'"
                    raise ValueError(msg) from None
        return value

    def given(self) -> dict[str, Any]:
        """The fields that are given, without `unless` and `log`."""
        return {name: value for name in Conditions.model_fields if (value := getattr(self, name)) is not None}


class Where(Conditions):
    """Which records count: those of the kinds of log, with an outcome, for which all given conditions hold.

    `unless`: and for which not all of these hold.
    """

    outcome: Annotated[tuple[Literal["success", "denied", "error", "any"], ...], BeforeValidator(texts)] = ("success",)
    """`success` (2xx, or no error code; the default), `denied` (401, 403, AccessDenied, Unauthorized), `error` (all
    else, 304 and 404 among it), `any`"""
    log: (
        Annotated[tuple[Literal["cloudtrail", "server_access", "access_audit"], ...], BeforeValidator(texts)] | None
    ) = None
    """`cloudtrail`, `server_access` or `access_audit` (the application's own log,
    [docs/audit-log.md](../docs/audit-log.md)); without it the first two"""
    unless: Conditions | None = None
    """fields as in this table, all but `log` and `unless`: records for which all of them hold do not count"""

    @model_validator(mode="after")
    def _purposes_are_read(self) -> Where:
        told = self.purpose or (self.unless and self.unless.purpose)
        if told and "access_audit" not in (self.log or ()):
            msg = "where: expected `log: access_audit` beside purpose: no other log tells of it"
            raise ValueError(msg)
        return self
