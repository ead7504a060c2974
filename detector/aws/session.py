"""Clients of AWS services, and the one place where botocore's errors become ours.

Rules of this file
- Retries are pinned (`standard`, five attempts in all unless the caller tries again by itself): botocore changes its
  default between versions.
- `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` are botocore's own and hold everywhere.
- What a code means to us is a table. A code that is not in it is judged by its HTTP status.

Source: botocore 1.43 (retries/standard.py, configprovider.py); API references of SQS, SNS, S3, IAM, "Common errors".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from detector.errors import EdgeError, StateError
from detector.response.plain import printable


@dataclass(frozen=True, slots=True)
class OtherAccount:
    """A role to assume before calling, for an account that is not the daemon's own."""

    role_arn: str
    external_id: str = ""


class _Meaning(NamedTuple):
    retryable: bool
    remedy: str


_WAIT = _Meaning(True, "AWS asks to slow down; it is tried again")
_AWS_DOWN = _Meaning(True, "the service has a problem of its own; it is tried again")
_DENIED = _Meaning(False, "allow this action to bucketwatch's role, in its policy and in the resource's own policy")
_CREDENTIALS = _Meaning(
    False, "the credentials are wrong: check which ones the process finds (aws sts get-caller-identity)"
)
_RENEW = _Meaning(True, "the credentials have expired or the clock is wrong: renew them, check the machine's time")
_KMS = _Meaning(
    False, "the resource's KMS key cannot be used: allow kms:Decrypt and kms:GenerateDataKey, check its state"
)
_GONE = _Meaning(False, "check the name, the region and the account; it may have been deleted")
_BUG = _Meaning(False, "AWS refuses the request as it is: please report this")

MEANINGS: dict[str, _Meaning] = {
    **dict.fromkeys(
        (
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "Throttled",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "SlowDown",
            "KMSThrottling",
            "KMS.ThrottlingException",
            "OverLimit",
        ),
        _WAIT,
    ),
    **dict.fromkeys(
        ("InternalError", "InternalFailure", "ServiceFailure", "ServiceUnavailable", "RequestTimeout"),
        _AWS_DOWN,
    ),
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "AuthorizationError", "AllAccessDisabled"), _DENIED),
    **dict.fromkeys(
        (
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
        ),
        _CREDENTIALS,
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"), _RENEW),
    **dict.fromkeys(
        (
            "KMSDisabled",
            "KMSNotFound",
            "KMSAccessDenied",
            "KMSInvalidState",
            "KMSOptInRequired",
            "KMS.DisabledException",
            "KMS.NotFoundException",
            "KMS.AccessDeniedException",
            "KMS.InvalidStateException",
        ),
        _KMS,
    ),
    **dict.fromkeys(
        ("NotFound", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "NoSuchBucket", "NoSuchVersion"),
        _GONE,
    ),
    **dict.fromkeys(("InvalidParameter", "InvalidParameterValue", "MalformedPolicyDocument", "ValidationError"), _BUG),
    "NoSuchKey": _Meaning(False, "the object is gone: find out who deleted it (a lifecycle rule, or somebody's hand)"),
    "NoSuchEntity": _Meaning(False, "the role is gone or has another name: a deleted role's sessions can do nothing"),
    "LimitExceeded": _Meaning(False, "a role holds 10,240 characters of inline policies: take old cases back first"),
    "UnmodifiableEntity": _Meaning(False, "AWS owns this role: deny the session in the bucket's policy instead"),
    "ConcurrentModification": _Meaning(True, "somebody else changes it at the same time; it is tried again"),
    "InvalidObjectState": _Meaning(False, "the object is archived: restore it first"),
    "EndpointDisabled": _Meaning(False, "the subscription's endpoint is disabled: enable it"),
}

NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "SSOTokenLoadError",
    "NoAuthTokenError",
)


def client(
    service: str,
    *,
    region: str | None = None,
    other: OtherAccount | None = None,
    attempts: int = 5,
    connect_timeout: float = 5,
    read_timeout: float = 30,
    session: Any = None,
) -> Any:
    """A client of a service. Make it once, in the main thread: clients may be shared by threads, sessions may not.

    region: else `AWS_REGION`, else what boto3 finds. other: the role to assume first. attempts: of each call, the first
    included. session: of boto3, for one who makes many clients in one thread. Raises EdgeError.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=16,
        user_agent_extra="bucketwatch",
    )
    where = region or os.environ.get("AWS_REGION") or None
    with edge(f"make a client of {service}"):
        keys: dict[str, Any] = _assumed(other, where) if other else {}
        make: Any = (session or boto3.session.Session(region_name=where, **keys)).client
        return make(service, region_name=where, config=config)


def a_session() -> Any:
    """A session of boto3, for `client`: clients of one session are made in a tenth of the time."""
    import boto3

    return boto3.session.Session()


def _assumed(other: OtherAccount, region: str | None) -> dict[str, str]:
    external = {"ExternalId": other.external_id} if other.external_id else {}
    sts = client("sts", region=region)
    with edge("assume the role of another account", where=other.role_arn):
        answer = sts.assume_role(RoleArn=other.role_arn, RoleSessionName="bucketwatch-responder", **external)
    found = answer["Credentials"]
    return {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }


@contextmanager
def of_the_state() -> Iterator[None]:
    """What S3 refuses is an error of state or journal, where the daemon cannot go on without them."""
    try:
        yield
    except EdgeError as error:
        raise StateError(error.what, where=error.where, remedy=error.remedy) from error


@contextmanager
def edge(doing: str, *, where: str = "") -> Iterator[None]:
    """Turn what botocore raises inside into an EdgeError that says what was done, where, and what to do."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        raise translated(error, doing, where) from error


def translated(error: Exception, doing: str, where: str = "") -> EdgeError:
    """The EdgeError for an error of botocore, by the tables of this file."""
    from botocore.exceptions import ClientError

    meaning = _of_answer(error) if isinstance(error, ClientError) else _of_client(error)
    said = printable(_said(error), 400)
    return EdgeError(
        f"could not {doing}: {said}", where=printable(where), remedy=meaning.remedy, retryable=meaning.retryable
    )


def code_of(error: BaseException | None) -> str:
    """AWS's own error code behind an error (an EdgeError's cause, or botocore's own); empty if there is none."""
    from botocore.exceptions import ClientError

    cause = error.__cause__ if isinstance(error, EdgeError) else error
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


def _said(error: Exception) -> str:
    code = code_of(error)
    if not code:
        return f"{type(error).__name__}: {error}"
    return f"{code}: {getattr(error, 'response', {}).get('Error', {}).get('Message', '')}"


def _of_answer(error: Any) -> _Meaning:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    by_status = _AWS_DOWN if status >= 500 else _WAIT if status == 429 else _DENIED if status == 403 else _BUG
    return MEANINGS.get(code_of(error), by_status)


def _passing() -> tuple[type[Exception], ...]:
    """What breaks off on the way, to the service or to where the task's own credentials come from."""
    from botocore import exceptions as found

    return (
        OSError,
        found.ConnectionError,
        found.CredentialRetrievalError,
        found.FlexibleChecksumError,
        found.HTTPClientError,
        found.IncompleteReadError,
        found.MetadataRetrievalError,
    )


def _of_client(error: Exception) -> _Meaning:
    from botocore.exceptions import NoRegionError, ParamValidationError

    kind = type(error).__name__
    if kind in NO_CREDENTIALS:
        return _Meaning(False, "no usable credentials: give the task a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID")
    if isinstance(error, NoRegionError):
        return _Meaning(False, "set AWS_REGION")
    if isinstance(error, ParamValidationError):
        return _BUG
    if isinstance(error, _passing()):
        return _Meaning(True, "the endpoint cannot be reached or broke off: check network, DNS and AWS_ENDPOINT_URL")
    return _Meaning(False, "check the AWS configuration of this process (profile, region, endpoint)")
