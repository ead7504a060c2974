"""Judgements of queue, trail, topic, lease, clock, endpoints and cost, each both ways."""

import datetime as dt
import gzip
import json

import pytest

from detector.doctor import account, cost, edges, logs, queue, trails
from detector.doctor.result import Answer
from detector.doctor.subject import Place, Role, Subject
from tests.doctor.asked import ABSENT, ACCOUNT, DENIED, Asked, told

NOW = 1_777_626_000
GOOD = {
    "VisibilityTimeout": "600", "MessageRetentionPeriod": "604800",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:1:dead", "maxReceiveCount": 10}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "statuses"),
    [
        ({}, []),
        ({"VisibilityTimeout": "30"}, ["problem"]),
        ({"VisibilityTimeout": "120"}, ["warn"]),
        ({"MessageRetentionPeriod": "3600"}, ["problem"]),
        ({"MessageRetentionPeriod": "172800"}, ["warn"]),
        ({"RedrivePolicy": ""}, ["problem"]),
        ({"RedrivePolicy": "{"}, ["problem"]),
        ({"RedrivePolicy": json.dumps({"deadLetterTargetArn": "a", "maxReceiveCount": 4})}, ["problem"]),
        ({"KmsMasterKeyId": "alias/aws/sqs"}, ["problem"]),
        ({"KmsMasterKeyId": "alias/mine"}, []),
    ],
)
def test_a_queues_settings(changes, statuses):
    assert [one.status for one in queue.settings(GOOD | changes, "q")] == statuses


def test_an_old_message_is_told_by_cloudwatch():
    """Worse when it will soon be gone."""
    for age, status in ((60.0, "ok"), (7_200.0, "warn"), (400_000.0, "problem")):
        ask = Asked(
            sqs__get_queue_attributes={"Attributes": {k: v for k, v in GOOD.items() if k != "RedrivePolicy"}},
            cloudwatch__get_metric_statistics={"Datapoints": [{"Maximum": age}]},
        )
        results = queue.queue(Subject(queue_url="q"), ask, NOW)
        assert any("oldest notice" in one for one in told(results, status)) is (status != "ok")


def test_dead_letters_outlive_the_queue():
    assert [r.status for r in queue.dead({"MessageRetentionPeriod": "1209600"}, 604_800, "d")] == []
    assert [r.status for r in queue.dead({"MessageRetentionPeriod": "604800"}, 604_800, "d")] == ["warn"]


# --- trails


def trail(status=None, **described):
    described = {
        "TrailARN": "arn:aws:cloudtrail:us-east-1:1:trail/t", "S3BucketName": "logs", "LogFileValidationEnabled": True,
        "IsMultiRegionTrail": True,
    } | described  # fmt: skip
    return trails.Trail(described, status or Answer({"IsLogging": True}), DENIED)


@pytest.mark.parametrize(
    ("one", "status", "what"),
    [
        (trail(Answer({"IsLogging": False})), "problem", "switched off"),
        (trail(Answer({"IsLogging": True, "LatestDeliveryError": "AccessDenied"})), "problem", "failed: AccessD"),
        (trail(Answer({"IsLogging": True, "LatestDigestDeliveryError": "x"})), "problem", "digest"),
        (
            trail(Answer({"IsLogging": True, "LatestDeliveryTime": dt.datetime.fromtimestamp(NOW - 36_000, dt.UTC)})),
            "warn", "10.0 hours ago",
        ),
        (trail(LogFileValidationEnabled=False), "warn", "validation is off"),
        (trail(IsMultiRegionTrail=False), "warn", "other regions"),
        (trail(DENIED), "skipped", "may not be looked at"),
    ],
)  # fmt: skip
def test_a_trails_health(one, status, what):
    [result] = trails.health(one, NOW)
    assert result.status == status
    assert what in result.what


def test_a_healthy_trail_says_nothing():
    fresh = dt.datetime.fromtimestamp(NOW - 300, dt.UTC)
    assert list(trails.health(trail(Answer({"IsLogging": True, "LatestDeliveryTime": fresh})), NOW)) == []


def test_trails_that_may_not_be_looked_at_are_skipped():
    """And are no reason to call a bucket unseen."""
    subject = Subject(log_buckets=("logs",), protected=("ml-voice",))
    ask = Asked(cloudtrail__describe_trails=DENIED)
    assert [r.status for r in trails.trails(subject, ask, NOW)] == ["skipped"]
    assert list(trails.coverage(subject, ask, "aws")) == []
    assert list(trails.loops(subject, ask, "aws")) == []


def test_a_glob_of_protected_buckets_is_held_against_those_there_are():
    selectors = {"EventSelectors": [{"DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::ml-a/"]}]}]}
    ask = Asked(
        cloudtrail__describe_trails={"trailList": [{"TrailARN": "t", "S3BucketName": "logs"}]},
        cloudtrail__get_trail_status={"IsLogging": True},
        cloudtrail__get_event_selectors=selectors,
        s3__list_buckets={"Buckets": [{"Name": "ml-a"}, {"Name": "ml-b"}, {"Name": "logs"}]},
    )
    subject = Subject(log_buckets=("logs",), protected=("ml-*", "face-*"))
    results = list(trails.coverage(subject, ask, "aws"))
    assert [(r.status, r.where) for r in results] == [("ok", "s3://ml-a"), ("problem", "s3://ml-b"), ("warn", "face-*")]


# --- alerts, response, state


@pytest.mark.parametrize(
    ("attributes", "statuses"),
    [
        ({"SubscriptionsConfirmed": "1"}, []),
        ({"SubscriptionsConfirmed": "0", "SubscriptionsPending": "1"}, ["problem", "warn"]),
        ({"SubscriptionsConfirmed": "1", "KmsMasterKeyId": "alias/aws/sns"}, ["warn"]),
    ],
)
def test_a_topic_that_nobody_hears(attributes, statuses):
    assert [one.status for one in edges.heard(attributes, "t")] == statuses


@pytest.mark.parametrize(
    ("state", "status"), [("Enabled", "ok"), ("PendingDeletion", "problem"), ("Disabled", "problem")]
)
def test_a_topics_key_has_to_be_enabled(state, status):
    ask = Asked(
        sns__get_topic_attributes={"Attributes": {"SubscriptionsConfirmed": "1", "KmsMasterKeyId": "k"}},
        kms__describe_key={"KeyMetadata": {"KeyState": state}},
        sns__list_subscriptions_by_topic=DENIED,
    )
    arn = f"arn:aws:sns:us-east-1:{ACCOUNT}:alerts"
    assert [r.status for r in edges.topics(Subject(topics=(arn,)), ask)] == [status]


@pytest.mark.parametrize(
    ("subject", "status"),
    [
        (Subject(mode="plan"), "ok"),
        (Subject(mode="off", revoking=1), "warn"),
        (Subject(mode="enforce"), "problem"),
        (Subject(mode="enforce", responders={ACCOUNT: None}), "warn"),
        (Subject(mode="enforce", responders={ACCOUNT: None}, revoking=1), "ok"),
    ],
)
def test_mode_rules_and_accounts_fit(subject, status):
    assert [one.status for one in edges.mode(subject)] == [status]


def test_a_role_that_does_not_trust_us_is_not_called_well():
    """It may trust the detector's role: whoever runs doctor is told how to be sure."""
    subject = Subject(mode="enforce", revoking=1, responders={ACCOUNT: Role("arn:aws:iam::1:role/r", "id")})
    [_, result] = edges.response(subject, Asked(sts__assume_role=DENIED))
    assert result.status == "skipped"
    assert "run doctor as that role" in result.remedy


PLACE = Place("state", "bucketwatch")


def store(*, conditional=True, deletable=True):
    """S3 as it takes a probe."""
    held = set()

    def put(**request):
        if request["Key"] in held and conditional:
            return Answer(None, "failed", "PreconditionFailed")
        held.add(request["Key"])
        return {"ETag": "x"}

    def delete(**request):
        return held.discard(request["Key"]) or {} if deletable else DENIED

    return Asked(s3__put_object=put, s3__delete_object=delete), held


def test_a_probe_is_written_on_condition_and_deleted():
    ask, held = store()
    assert [r.status for r in edges.writable("state", PLACE, ask, "n")] == ["ok"]
    assert not held
    assert all(arguments["Key"] == "bucketwatch/doctor-n" for _, arguments in ask.put)


def test_a_store_that_ignores_conditions_is_a_problem():
    ask, _ = store(conditional=False)
    assert [r.status for r in edges.writable("state", PLACE, ask, "n")] == ["problem"]


def test_a_probe_that_stays_is_told():
    ask, _ = store(deletable=False)
    assert [r.status for r in edges.writable("state", PLACE, ask, "n")] == ["ok", "warn"]
    assert [r.status for r in edges.writable("state", PLACE, Asked(s3__put_object=DENIED), "n")] == ["skipped"]


def lease(age=5, **changes):
    body = {
        "schema": "bucketwatch.lease.v1",
        "holder": "host",
        "epoch": 3,
        "duration": 30.0,
        "released": False,
    } | changes
    found = {"Body": json.dumps(body).encode(), "LastModified": dt.datetime.fromtimestamp(NOW - age, dt.UTC)}
    return edges.lease(Answer(found), "s3://state/lease", NOW).status


def test_a_lease_tells_whether_a_daemon_runs():
    assert [lease(), lease(released=True), lease(600), lease(holder="x", duration=None)] == [
        "ok",
        "warn",
        "problem",
        "problem",
    ]


def test_a_manifest_tells_its_version():
    assert edges.manifest(b"bucketwatch-state 1 abc\n...", "m").what == "there is a checkpoint, of version 1"
    assert edges.manifest(b"something else", "m").status == "problem"


# --- who, where, when, how much


def dated(off):
    date = dt.datetime.fromtimestamp(NOW - off, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return account.clock(Answer({"ResponseMetadata": {"HTTPHeaders": {"date": date}}}), NOW)


def test_the_clock_is_held_against_awss():
    assert [dated(off).status for off in (0, 20, -20, 60, -60, 600, -600)] == [
        "ok", "ok", "ok", "warn", "warn", "problem", "problem",
    ]  # fmt: skip
    assert "ahead" in dated(60).what
    assert account.clock(ABSENT, NOW).status == "skipped"


def test_a_rogue_endpoint_is_warned_about():
    aws = {"iam": "https://iam.amazonaws.com", "sqs": "https://sqs.cn-north-1.amazonaws.com.cn"}
    assert [one.status for one in account.endpoints(aws, {})] == ["ok"]
    rogue = aws | {"s3": "https://s3.amazonaws.com.evil.example"}
    assert [(one.status, one.where) for one in account.endpoints(rogue, {})] == [("warn", rogue["s3"])]
    plain = {"s3": "http://s3.us-east-1.amazonaws.com"}
    assert [one.status for one in account.endpoints(plain, {})] == ["warn"]
    named = {"AWS_ENDPOINT_URL_IAM": "https://vpce-1.iam.us-east-1.vpce.amazonaws.com"}
    assert [one.status for one in account.endpoints(aws, named)] == ["warn"]


def test_nothing_is_asked_without_an_identity():
    assert account.identity(Asked(sts__get_caller_identity=ABSENT)).status == "problem"
    assert account.identity(Asked(sts__get_caller_identity={"Arn": "a", "Account": "1"})).status == "ok"


def test_a_days_events_are_told_from_its_bytes_by_the_density_of_a_file():
    day = cost.Day("logs", files=288, size=100_000_000, sample=100_000, records=1_000)
    assert day.events == 1_000_000
    assert cost.Day("logs", 1, 1_200, 0, 0).events == 10
    found = cost.month([day])
    assert found.events == pytest.approx(30.0)  # 30 M events at 0.10 a 100,000
    assert found.total == pytest.approx(found.events + found.files + found.storage + found.task)
    assert list(cost.told_cost([])) == []


def test_records_are_counted_in_what_is_a_trails_file():
    body = json.dumps({"Records": [{}, {}, {}]}).encode()
    assert [logs.records_in(b) for b in (gzip.compress(body), body, b"no", b"\x1f\x8bno", b"[]")] == [3, 3, 0, 0, 0]


def test_a_log_that_cannot_be_decrypted_says_which_actions_it_takes():
    ask = Asked(s3__list_objects_v2={"Contents": [{"Key": "k", "Size": 1}]}, s3__get_object=DENIED)
    results = list(logs.logs(Subject(log_buckets=("logs",)), ask, NOW))
    assert [r.status for r in results] == ["skipped"]
    assert "kms:Decrypt" in results[0].remedy
