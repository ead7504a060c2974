"""How news of a log file reaches the queue, with documents as AWS answers them."""

import json

import pytest

from detector.doctor.subject import Subject
from detector.doctor.ways import judged, notices, passes_created
from tests.doctor.asked import ACCOUNT, DENIED, Asked, told

QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:notices"
RULE = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/logs"
SUBJECT = Subject(queue_url="https://sqs/notices", log_buckets=("trail-logs",))
PATTERN = {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": ["trail-logs"]}}}


def policy(service, source):
    statement = {
        "Effect": "Allow", "Principal": {"Service": service}, "Action": "sqs:SendMessage", "Resource": QUEUE,
        "Condition": {"ArnEquals": {"aws:SourceArn": source}},
    }  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


PASSING, OTHER = json.dumps(PATTERN), json.dumps(PATTERN | {"source": ["aws.ec2"]})
CLOSED = policy("s3.amazonaws.com", RULE)


def over_the_bus(**changes):
    answers = {
        "sqs__get_queue_attributes": {
            "Attributes": {"QueueArn": QUEUE, "Policy": policy("events.amazonaws.com", RULE)}
        },
        "s3__get_bucket_notification_configuration": {"EventBridgeConfiguration": {}},
        "events__list_rule_names_by_target": {"RuleNames": ["logs"]},
        "events__describe_rule": {"Arn": RULE, "State": "ENABLED", "EventPattern": json.dumps(PATTERN)},
    }  # fmt: skip
    return list(notices(SUBJECT, Asked(**answers | changes), (), ACCOUNT))


def test_the_way_over_eventbridge_is_whole_when_bucket_rule_and_policy_agree():
    results = over_the_bus()
    assert told(results, "ok") == ["notices: EventBridge hands the bucket's events on to the queue"]
    assert len(results) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"s3__get_bucket_notification_configuration": {"ResponseMetadata": {}}}, "does not send any to EventBridge"),
        ({"events__describe_rule": {"Arn": RULE, "State": "DISABLED", "EventPattern": PASSING}}, "is disabled"),
        (
            {"sqs__get_queue_attributes": {"Attributes": {"QueueArn": QUEUE, "Policy": CLOSED}}},
            "does not let the rule in",
        ),
        ({"events__describe_rule": {"Arn": RULE, "EventPattern": OTHER}}, "no way"),
        ({"events__list_rule_names_by_target": {"RuleNames": []}}, "no way leads"),
    ],
)  # fmt: skip
def test_each_break_on_the_way_over_eventbridge_is_a_problem(changes, expected):
    assert expected in "".join(told(over_the_bus(**changes), "problem"))


def test_what_may_not_be_looked_at_is_skipped_with_the_action():
    """A log bucket of another account: neither a problem nor well."""
    results = over_the_bus(
        s3__get_bucket_notification_configuration=DENIED, events__list_rule_names_by_target={"RuleNames": []}
    )
    assert [(r.status, r.remedy) for r in results] == [("skipped", "allow x:Look")]


def test_a_trails_own_topic_is_a_way():
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:trail"
    answers = {
        "sqs__get_queue_attributes": {"Attributes": {"QueueArn": QUEUE, "Policy": policy("sns.amazonaws.com", topic)}},
        "s3__get_bucket_notification_configuration": {},
        "sns__list_subscriptions_by_topic": {
            "Subscriptions": [{"SubscriptionArn": f"{topic}:1", "Endpoint": QUEUE, "Protocol": "sqs"}]
        },
    }
    trails = [{"S3BucketName": "trail-logs", "SnsTopicARN": topic}]
    results = list(notices(SUBJECT, Asked(**answers), trails, ACCOUNT))
    assert told(results, "ok") == ["notices: a topic that is told of new logs hands on to the queue"]
    answers["sns__list_subscriptions_by_topic"]["Subscriptions"][0]["SubscriptionArn"] = "PendingConfirmation"
    results = list(notices(SUBJECT, Asked(**answers), trails, ACCOUNT))
    assert told(results, "problem") == ["notices: the queue's subscription is not confirmed"]


@pytest.mark.parametrize(
    ("pattern", "passes"),
    [
        (PATTERN, True),
        ({"source": ["aws.s3"]}, True),
        ({"source": ["aws.s3"], "detail": {"bucket": {"name": [{"prefix": "trail-"}]}}}, True),
        ({"source": ["aws.s3"], "detail": {"bucket": {"name": [{"prefix": "other-"}]}}}, False),
        ({"source": ["aws.s3"], "detail": {"bucket": {"name": ["other"]}}}, False),
        ({"detail-type": ["Object Deleted"]}, False),
        ({}, False),
    ],
)
def test_an_event_pattern_is_read(pattern, passes):
    assert passes_created(json.dumps(pattern), "trail-logs") is passes
    assert not passes_created("no json", "trail-logs")
    assert not passes_created(None, "trail-logs")


@pytest.mark.parametrize(
    ("configuration", "statuses"),
    [
        ({"Events": ["s3:ObjectCreated:*"]}, []),
        ({"Events": ["s3:ObjectCreated:Put"]}, ["warn"]),
        ({"Events": ["s3:ObjectRemoved:*"]}, ["problem"]),
        (
            {
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "Suffix", "Value": ".json.gz"}]}},
            },
            ["ok"],
        ),
        (
            {"Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "x/"}]}}},
            ["warn"],
        ),
    ],
)
def test_what_a_notification_leaves_out_is_told(configuration, statuses):
    assert [one.status for one in judged(configuration, "arn:aws:s3:::trail-logs")] == statuses
