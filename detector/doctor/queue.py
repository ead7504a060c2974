"""The queue: whether it keeps notices long enough, hides them long enough, and gives up on them late enough. Pure.

Source: SQS API reference, SetQueueAttributes; S3 User Guide, "Supported event destinations" (keys, FIFO).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from detector.doctor.result import Ask, Result, unseen
from detector.doctor.subject import Subject

DAY = 86_400
HIDDEN, HIDDEN_BETTER = 60, 300
"""Seconds a message must, and should, be hidden: fetching, judging and a checkpoint of a poll of 100 files."""
ATTEMPTS = 5
"""Receives before a message is given up, at least: every kill in a deploy uses one up."""
WAITING = 1_000
STALE = 1_800
REMEDY = "see fetch_failed in the program's log; if there is none, give it more CPU"
ANSWER = ("VisibilityTimeout", "MessageRetentionPeriod")


def queue(subject: Subject, ask: Ask, now: float) -> Iterator[Result]:
    """The queue of notices and its dead letters."""
    where = subject.queue_url
    answer = ask("sqs:get_queue_attributes", QueueUrl=where, AttributeNames=["All"])
    if answer.found is None:
        yield unseen("queue", answer, where, absent="there is no such queue", remedy="check source.queue_url")
        return
    attributes = answer.seen.get("Attributes", {})
    results = [*settings(attributes, where), *waiting(attributes, where), *_dead_letters(attributes, ask)]
    results += _oldest(attributes, ask, where, now)
    yield from results
    if all(one.status == "ok" for one in results):
        hidden, kept = (int(attributes.get(name, 0)) for name in ANSWER)
        yield Result("queue", "ok", f"reachable; hides messages {hidden} s, keeps them {kept / DAY:.0f} days", where)


def settings(attributes: Mapping[str, Any], where: str) -> Iterator[Result]:
    """Attributes that do not suit the work."""
    hidden, kept = int(attributes.get("VisibilityTimeout", 30)), int(attributes.get("MessageRetentionPeriod", 4 * DAY))
    if hidden < HIDDEN_BETTER:
        yield Result(
            "queue", "problem" if hidden < HIDDEN else "warn",
            f"messages are hidden for {hidden} s: work that takes longer is done twice and uses up receives", where,
            "set VisibilityTimeout to 600",
        )  # fmt: skip
    if kept < 4 * DAY:
        yield Result(
            "queue", "problem" if kept < DAY else "warn",
            f"messages are kept for {kept / 3600:.0f} hours: an outage that lasts longer loses notices", where,
            "set MessageRetentionPeriod to 604800 (7 days)",
        )  # fmt: skip
    if where.endswith(".fifo"):
        yield Result("queue", "warn", "S3 cannot notify a FIFO queue", where, "use a standard queue")
    if str(attributes.get("KmsMasterKeyId", "")).endswith("alias/aws/sqs"):
        yield Result(
            "queue", "problem", "its key is AWS's own (alias/aws/sqs), which S3 and EventBridge may not use", where,
            "set SqsManagedSseEnabled, or a key of your own whose policy lets these services use it",
        )  # fmt: skip
    redrive = _redrive(attributes)
    if redrive is None:
        yield Result(
            "dead-letters", "problem", "no dead-letter queue: what cannot be read comes again and again", where,
            "add a RedrivePolicy with maxReceiveCount 10",
        )  # fmt: skip
    elif int(redrive.get("maxReceiveCount", 0)) < ATTEMPTS:
        told = f"a message is given up after {redrive.get('maxReceiveCount')} receives: a few restarts use them up"
        yield Result("dead-letters", "problem", told, where, "set maxReceiveCount to 10")


def waiting(attributes: Mapping[str, Any], where: str) -> Iterator[Result]:
    """How much is waiting."""
    count = int(attributes.get("ApproximateNumberOfMessages", 0))
    if count >= WAITING:
        told = f"about {count:,} notices are waiting: is the daemon running, and does it keep up?"
        yield Result("queue", "warn", told, where, "see bucketwatch_watermark_lag_seconds and the program's log")


def dead(attributes: Mapping[str, Any], kept: int, where: str) -> Iterator[Result]:
    """The dead-letter queue's own attributes. kept: seconds the queue itself keeps a message."""
    count = int(attributes.get("ApproximateNumberOfMessages", 0))
    if count:
        yield Result(
            "dead-letters", "problem", f"{count:,} notices were given up: the logs they name were not read", where,
            "read one, mend the cause, then aws sqs start-message-move-task",
        )  # fmt: skip
    if int(attributes.get("MessageRetentionPeriod", 0)) <= kept:
        yield Result(
            "dead-letters", "warn", "dead letters are kept no longer than the queue keeps a message, counted from when "
            "it was first sent", where, "set its MessageRetentionPeriod to 1209600 (14 days)",
        )  # fmt: skip


def arn_of(subject: Subject, ask: Ask) -> str:
    """The queue's ARN; empty if it may not be seen."""
    found = ask("sqs:get_queue_attributes", QueueUrl=subject.queue_url, AttributeNames=["All"]).seen
    return str(found.get("Attributes", {}).get("QueueArn", ""))


def _redrive(attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        found = json.loads(attributes.get("RedrivePolicy") or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("deadLetterTargetArn") else None


def _dead_letters(attributes: Mapping[str, Any], ask: Ask) -> Iterator[Result]:
    redrive = _redrive(attributes)
    if redrive is None:
        return
    target = str(redrive["deadLetterTargetArn"])
    named = ask("sqs:get_queue_url", QueueName=target.rpartition(":")[2], QueueOwnerAWSAccountId=target.split(":")[4])
    url = str(named.seen.get("QueueUrl", ""))
    answer = ask("sqs:get_queue_attributes", QueueUrl=url, AttributeNames=["All"]) if url else named
    if answer.found is None:
        told = "the dead-letter queue does not exist: messages that are given up are lost"
        yield unseen("dead-letters", answer, target, absent=told, remedy="make it, or name another")
        return
    found = answer.seen.get("Attributes", {})
    results = list(dead(found, int(attributes.get("MessageRetentionPeriod", 4 * DAY)), target))
    yield from results
    if not results:
        yield Result("dead-letters", "ok", f"empty; after {redrive.get('maxReceiveCount')} receives", target)


def _oldest(attributes: Mapping[str, Any], ask: Ask, where: str, now: float) -> Iterator[Result]:
    """The age of the oldest message, which CloudWatch knows. What is not known is not a result."""
    arn = str(attributes.get("QueueArn", ""))
    answer = ask(
        "cloudwatch:get_metric_statistics", Namespace="AWS/SQS", MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": arn.rpartition(":")[2]}], Period=300, Statistics=["Maximum"],
        StartTime=now - 1_800, EndTime=now,
    )  # fmt: skip
    if answer.why == "denied":
        yield unseen("queue", answer, where)
    age = max((float(point.get("Maximum", 0)) for point in answer.seen.get("Datapoints", ())), default=0.0)
    if age > STALE:
        kept = int(attributes.get("MessageRetentionPeriod", 4 * DAY))
        told = f"the oldest notice has waited {age / 60:.0f} minutes of the {kept / 60:.0f} it is kept"
        yield Result(
            "queue",
            "problem" if age > kept / 2 else "warn",
            told,
            where,
            REMEDY,
        )
