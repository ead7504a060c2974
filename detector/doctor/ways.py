"""How a new log file becomes a notice in the queue: from S3 at once, through a topic, or over EventBridge. Pure.

Each way has to be whole: the bucket (or the trail) tells, whoever is told hands on, and the queue's policy lets it in.

Source: S3 User Guide, "Amazon S3 Event Notifications"; SNS and EventBridge user guides, policies for SQS targets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.doctor.policies import Request, lets_in
from detector.doctor.queue import arn_of
from detector.doctor.result import Ask, Result, unseen
from detector.doctor.subject import Subject, partition_of

CHECK = "notices"
CREATED = ("s3:ObjectCreated:*", "s3:ObjectCreated:Put")
REFUSED = "the queue's policy does not let {who} in"
POLICY = "allow sqs:SendMessage to {who} on the queue, with aws:SourceArn {source}"


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue as its senders meet it."""

    arn: str
    policy: str

    def admits(self, service: str, source: str, account: str, who: str, told: str) -> Result:
        """Whether what this service sends on behalf of the source gets in. told: the way that is then whole."""
        request = Request(service, "sqs:SendMessage", self.arn, source, account)
        verdict = lets_in(self.policy, request)
        remedy = POLICY.format(who=service, source=source)
        if verdict == "no":
            return Result(CHECK, "problem", f"{told}, but " + REFUSED.format(who=who), self.arn, remedy)
        if verdict == "unclear":
            told = f"{told}; whether the queue's policy lets {who} in rests on conditions not judged here"
            return Result(CHECK, "warn", told, self.arn, f"see that a notice arrives, or {remedy}")
        return Result(CHECK, "ok", told, self.arn)


def notices(subject: Subject, ask: Ask, trails: Sequence[Mapping[str, Any]], account: str) -> Iterator[Result]:
    """Whether news of each log bucket reaches the queue."""
    arn = arn_of(subject, ask)
    if not arn:
        return  # the queue's own check says why
    attributes = ask("sqs:get_queue_attributes", QueueUrl=subject.queue_url, AttributeNames=["All"]).seen["Attributes"]
    queue = Queue(arn, str(attributes.get("Policy", "")))
    for bucket in subject.log_buckets:
        yield from _of_bucket(bucket, queue, ask, trails, account)


def _of_bucket(
    bucket: str, queue: Queue, ask: Ask, trails: Sequence[Mapping[str, Any]], account: str
) -> Iterator[Result]:
    answer = ask("s3:get_bucket_notification_configuration", Bucket=bucket)
    source = f"arn:{partition_of(queue.arn)}:s3:::{bucket}"
    found = [
        *_direct(answer.seen, source, queue, account),
        *_by_topic(answer.seen, source, queue, ask, account),
        *_by_bus(answer.seen, bucket, queue, ask, account),
        *_by_trail(bucket, queue, ask, trails),
    ]
    yield from found
    if answer.found is None and not found:
        absent, remedy = "there is no such bucket", "check accept.buckets"
        yield unseen(CHECK, answer, f"s3://{bucket}", absent=absent, remedy=remedy)
    elif not found:
        yield Result(
            CHECK, "problem", "no way leads from this bucket to the queue: new log files are not noticed",
            f"s3://{bucket}",
            "let the bucket notify the queue of s3:ObjectCreated:*, through a topic, or over EventBridge (deploy/)",
        )  # fmt: skip


def _direct(had: Mapping[str, Any], source: str, queue: Queue, account: str) -> Iterator[Result]:
    for one in had.get("QueueConfigurations") or ():
        if one.get("QueueArn") == queue.arn:
            yield from judged(one, source)
            yield queue.admits("s3.amazonaws.com", source, account, "S3", "the bucket notifies the queue")


def judged(configuration: Mapping[str, Any], source: str) -> Iterator[Result]:
    """What a notification's events and filter leave out."""
    events = configuration.get("Events") or []
    where = f"s3://{source.rpartition(':')[2]}"
    if not set(events) & set(CREATED):
        remedy = "notify of s3:ObjectCreated:*"
        yield Result(CHECK, "problem", f"the notification is not of new objects: {', '.join(events)}", where, remedy)
    elif CREATED[0] not in events:
        told = "only whole puts are notified of: large files and copies arrive otherwise"
        yield Result(CHECK, "warn", told, where, "notify of s3:ObjectCreated:*")
    rules = (configuration.get("Filter") or {}).get("Key", {}).get("FilterRules") or ()
    for rule in rules:
        told = f"the notification is only of keys with {str(rule.get('Name')).lower()} {rule.get('Value')!r}"
        fits = str(rule.get("Name")).lower() == "suffix" and ".json.gz".endswith(str(rule.get("Value")) or "-")
        yield Result(CHECK, "ok" if fits else "warn", told, where, "" if fits else "see that it leaves no log out")


def _by_topic(had: Mapping[str, Any], source: str, queue: Queue, ask: Ask, account: str) -> Iterator[Result]:
    for one in had.get("TopicConfigurations") or ():
        topic = str(one.get("TopicArn"))
        results = list(_subscribed(topic, queue, ask))
        if not results:
            continue
        yield from judged(one, source)
        yield from results
        policy = ask("sns:get_topic_attributes", region=_region(topic), TopicArn=topic).seen.get("Attributes", {})
        request = Request("s3.amazonaws.com", "sns:Publish", topic, source, account)
        if policy and lets_in(policy.get("Policy"), request) == "no":
            remedy = f"allow sns:Publish to s3.amazonaws.com, with aws:SourceArn {source}"
            yield Result(CHECK, "problem", "the topic's policy does not let the bucket in", topic, remedy)


def _by_trail(bucket: str, queue: Queue, ask: Ask, trails: Sequence[Mapping[str, Any]]) -> Iterator[Result]:
    topics = {str(t["SnsTopicARN"]) for t in trails if t.get("S3BucketName") == bucket and t.get("SnsTopicARN")}
    for topic in sorted(topics):
        yield from _subscribed(topic, queue, ask)


def _subscribed(topic: str, queue: Queue, ask: Ask) -> Iterator[Result]:
    """The queue's subscription to a topic; nothing if it has none."""
    answer = ask("sns:list_subscriptions_by_topic", region=_region(topic), TopicArn=topic)
    if answer.found is None:
        yield unseen(CHECK, answer, topic, absent="the topic that is told of new logs does not exist")
        return
    for one in answer.seen.get("Subscriptions", ()):
        if one.get("Endpoint") != queue.arn:
            continue
        if not str(one.get("SubscriptionArn", "")).startswith("arn:"):
            yield Result(CHECK, "problem", "the queue's subscription is not confirmed", topic, "confirm or renew it")
        told = "a topic that is told of new logs hands on to the queue"
        yield queue.admits("sns.amazonaws.com", topic, topic.split(":")[4], "the topic", told)


def _by_bus(had: Mapping[str, Any], bucket: str, queue: Queue, ask: Ask, account: str) -> Iterator[Result]:
    answer = ask("events:list_rule_names_by_target", region=_region(queue.arn), TargetArn=queue.arn)
    if answer.found is None:
        if "EventBridgeConfiguration" in had:
            yield unseen(CHECK, answer, queue.arn)
        return
    for name in answer.seen.get("RuleNames", ()):
        rule = ask("events:describe_rule", region=_region(queue.arn), Name=name).seen
        if not passes_created(rule.get("EventPattern"), bucket):
            continue
        arn = str(rule.get("Arn", ""))
        if rule.get("State") == "DISABLED":
            yield Result(CHECK, "problem", "the rule that leads to the queue is disabled", arn, "enable it")
            continue
        if had and "EventBridgeConfiguration" not in had:
            told = "a rule waits for the bucket's events, but the bucket does not send any to EventBridge"
            yield Result(CHECK, "problem", told, f"s3://{bucket}", "turn EventBridge notifications of the bucket on")
            continue
        told = "EventBridge hands the bucket's events on to the queue"
        yield queue.admits("events.amazonaws.com", arn, account, "the rule", told)


def passes_created(pattern: object, bucket: str) -> bool:
    """Whether an event pattern lets "Object Created" of this bucket through. What it cannot judge, it lets through."""
    try:
        wanted = json.loads(pattern) if isinstance(pattern, str) else {}
    except ValueError:
        return False
    if not isinstance(wanted, dict) or not wanted:
        return False
    names = ((wanted.get("detail") or {}).get("bucket") or {}).get("name")
    asked = {"aws.s3": wanted.get("source"), "Object Created": wanted.get("detail-type"), bucket: names}
    return all(_matches(values, value) for value, values in asked.items())


def _matches(values: object, value: str) -> bool:
    if values is None:
        return True
    return isinstance(values, list) and any(_one(one, value) for one in values)


def _one(wanted: object, value: str) -> bool:
    if isinstance(wanted, dict):
        prefix = wanted.get("prefix")
        return value.startswith(prefix) if isinstance(prefix, str) else True
    return wanted == value


def _region(arn: str) -> str | None:
    return arn.split(":")[3] or None if arn.count(":") >= 5 else None
