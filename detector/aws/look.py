"""Asks AWS what `bucketwatch doctor` wants to know. What AWS refuses is an answer, no error.

Rules of this file
- Nothing is asked that is not in the table, and the table names the action each question needs.
- Questions read, but for three: two writes and a deletion of a probe object beside the state, and the assumption of a
  responder's role, whose credentials are let go at once.
- A question that was put is not put again.

Source: service authorization reference, actions of each service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from detector.aws.session import a_session, client, code_of, edge
from detector.doctor.result import Answer
from detector.errors import EdgeError
from detector.response.plain import printable


class Question(NamedTuple):
    """The action a question needs. pages: whether all pages of the answer are asked for."""

    action: str
    pages: bool = False


QUESTIONS: dict[str, Question] = {
    "cloudtrail:describe_trails": Question("cloudtrail:DescribeTrails"),
    "cloudtrail:get_event_selectors": Question("cloudtrail:GetEventSelectors"),
    "cloudtrail:get_trail_status": Question("cloudtrail:GetTrailStatus"),
    "cloudwatch:get_metric_statistics": Question("cloudwatch:GetMetricStatistics"),
    "events:describe_rule": Question("events:DescribeRule"),
    "events:list_rule_names_by_target": Question("events:ListRuleNamesByTarget", pages=True),
    "kms:describe_key": Question("kms:DescribeKey"),
    "s3:delete_object": Question("s3:DeleteObject"),
    "s3:get_bucket_encryption": Question("s3:GetEncryptionConfiguration"),
    "s3:get_bucket_logging": Question("s3:GetBucketLogging"),
    "s3:get_bucket_notification_configuration": Question("s3:GetBucketNotification"),
    "s3:get_object": Question("s3:GetObject"),
    "s3:list_buckets": Question("s3:ListAllMyBuckets", pages=True),
    "s3:list_objects_v2": Question("s3:ListBucket", pages=True),
    "s3:put_object": Question("s3:PutObject"),
    "sns:get_topic_attributes": Question("sns:GetTopicAttributes"),
    "sns:list_subscriptions_by_topic": Question("sns:ListSubscriptionsByTopic", pages=True),
    "sqs:get_queue_attributes": Question("sqs:GetQueueAttributes"),
    "sqs:get_queue_url": Question("sqs:GetQueueUrl"),
    "sts:assume_role": Question("sts:AssumeRole"),
    "sts:get_caller_identity": Question("sts:GetCallerIdentity"),
}
"""Service and operation of boto3 → what it needs."""

DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "Forbidden",
        "KMS.AccessDeniedException",
        "UnauthorizedOperation",
        "InsufficientDependencyServiceAccessPermissionException",
    }
)
ABSENT = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "NoSuchKey",
        "NotFound",
        "NotFoundException",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
        "ServerSideEncryptionConfigurationNotFoundError",
        "TrailNotFoundException",
    }
)
LARGEST = 64 << 20
"""Bytes of an object that are read at most: CloudTrail writes at most 50 MB a file."""
MOST = 20_000
"""Entries that are listed at most."""


class Look:
    """Asks, and remembers the answers. region: where there is no other reason to ask elsewhere."""

    def __init__(self, region: str | None = None) -> None:
        self._region = region
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._answers: dict[str, Answer] = {}
        self._session: Any = None

    def __call__(self, question: str, /, region: str | None = None, **arguments: Any) -> Answer:
        """Put a question (see `doctor.result.Ask`)."""
        put = repr((question, region, sorted(arguments.items())))
        if put not in self._answers:
            self._answers[put] = self._ask(question, region, arguments)
        return self._answers[put]

    def endpoints(self) -> dict[str, str]:
        """Where the calls of each service go that was asked so far."""
        return {service: str(one.meta.endpoint_url) for (service, _), one in self._clients.items()}

    def close(self) -> None:
        """Let go of connections."""
        for one in self._clients.values():
            one.close()

    def _ask(self, question: str, region: str | None, arguments: Mapping[str, Any]) -> Answer:
        service, _, operation = question.partition(":")
        wanted = QUESTIONS[question]
        try:
            with edge(f"ask {service} ({operation})"):
                asked = self._client(service, region or self._region)
                return Answer(_answered(asked, operation, wanted, arguments), action=wanted.action)
        except EdgeError as error:
            return _refused(error, wanted.action)

    def _client(self, service: str, region: str | None) -> Any:
        if (service, region) not in self._clients:
            self._session = self._session or a_session()
            self._clients[service, region] = client(
                service, region=region, attempts=2, connect_timeout=2, read_timeout=4, session=self._session
            )
        return self._clients[service, region]


def _answered(asked: Any, operation: str, wanted: Question, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    if wanted.pages and "MaxKeys" not in arguments and asked.can_paginate(operation):
        pages = asked.get_paginator(operation).paginate(**arguments, PaginationConfig={"MaxItems": MOST})
        found: dict[str, Any] = pages.build_full_result()
        return found
    answer: dict[str, Any] = getattr(asked, operation)(**arguments)
    answer.pop("Credentials", None)
    if "Body" in answer:
        with answer["Body"] as body:
            answer["Body"] = body.read(LARGEST)
    return answer


def _refused(error: EdgeError, action: str) -> Answer:
    code = code_of(error)
    status = getattr(error.__cause__, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    told = printable(error.what, 300)
    if code in DENIED or (status == 403 and code not in ABSENT):
        return Answer(None, "denied", told, action, code)
    return Answer(None, "absent" if code in ABSENT else "failed", told, action, code)
