"""CloudTrail: every record is a row or a reject, an odd one costs only itself, who and where are the real ones."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core.access import Log, Operation, Outcome, Skip, text_hash
from detector.core.builder import BatchBuilder
from detector.core.times import epoch
from detector.logs.cloudtrail import parse
from detector.logs.event_columns import outcome
from detector.logs.limits import Limits
from detector.logs.place import copy_source, split_arn
from detector.logs.read import read as read_file
from tests.records import (
    ACCOUNT,
    KMS_KEY,
    NINE,
    ROLE_ARN,
    ROLE_ID,
    SESSION_ARN,
    aggregated,
    assumed_role,
    copy_object,
    eventbridge,
    file_of,
    iam_user,
    insight,
    kms_decrypt,
    log_events,
    numbered,
    record,
    rows_of,
    taken,
)

ACCESS_POINT = f"arn:aws:s3:us-east-1:{ACCOUNT}:accesspoint/voice-ap"
DEEP = "[" * 100_000 + "]" * 100_000


def read(data):
    """Rows, rejects and wholeness of a document; its batch can be built."""
    into = BatchBuilder()
    whole = parse(data, "file", into)
    return *taken(into), whole


def row_of(made):
    """The row of one record, which reads the same on the fast way and on the slow one."""
    (fast,), no_rejects, whole = read(file_of([made]))
    slow = read(file_of([{"requestParameters": {"key": {}}, "eventTime": "2026-05-01T09:00:00Z"}, made]))[0][1]
    assert (no_rejects, whole) == ([], True)
    assert slow == fast
    return fast


def who(identity, **changes):
    """The principal of a record with this identity; it has a value at every level."""
    found = row_of(record(userIdentity=identity, **changes)).who
    assert found
    assert all(found[:6])
    return found


def reasons(rejects):
    """Position and reason of each reject."""
    return [(reject.position, reject.reason) for reject in rejects]


# --- what a record says


def test_a_record_fills_every_column_it_has_a_field_for():
    """Each field lands in its column, in the column's unit."""
    parameters = {
        "bucketName": "ml-voice",
        "key": "raw/a.wav",
        "versionId": "v1",
        "X-Amz-Date": "20260501T085900Z",
        "X-Amz-Expires": "300",
        "x-amz-server-side-encryption-aws-kms-key-id": KMS_KEY,
    }
    more = {"AuthenticationMethod": "QueryString", "SSEApplied": "SSE_KMS", "bytesTransferredOut": 4096}
    row = row_of(record(requestParameters=parameters, additionalEventData=more, vpcEndpointId="vpce-1"))
    assert (row.log, row.time, row.partition, row.skip) == (Log.cloudtrail, NINE, f"{ACCOUNT}/us-east-1", Skip.no)
    assert (row.operation, row.outcome, row.bytes) == (Operation.read, Outcome.success, 4096)
    assert (row.api, row.bucket, row.key, row.destination) == ("GetObject", "ml-voice", "raw/a.wav", None)
    assert (row.source_ip, row.user_agent, row.auth) == ("198.51.100.7", "aws-cli/2.15", "query")
    assert (row.event_id, row.request_id) == ("7f1c0000-0000-4000-8000-000000000001", "3E57427F3EXAMPLE")
    assert (row.region, row.vpc_endpoint, row.tls, row.sse) == ("us-east-1", "vpce-1", "TLSv1.3", "SSE_KMS")
    assert (row.kms_key, row.version_id) == (KMS_KEY, "v1")
    assert (row.signed_at, row.signed_for) == (NINE - 60, 300)


@pytest.mark.parametrize("name", [name for name in record() if name != "eventTime"])
@pytest.mark.parametrize("value", [None, ..., {}, [], "", 5, True, [[]], {"x": [{}]}, "\ud83d"])
def test_any_field_may_be_missing_or_of_any_type(name, value):
    """Only the time is needed: whatever else is odd is null, and the record is kept."""
    rows, rejects, whole = read(file_of([record(**{name: value}), record(eventID="e-2")]))
    assert (len(rows), rejects, whole) == (2, [], True)
    assert rows[1] == row_of(record(eventID="e-2"))


@pytest.mark.parametrize("holder", ["requestParameters", "additionalEventData", "userIdentity", "tlsDetails"])
@pytest.mark.parametrize("value", [None, {}, [[]], True, "x", "\ud83d"])
def test_an_odd_member_costs_only_itself(holder, value):
    """A member of the wrong type is null: its neighbours in the same object keep their values."""
    for member in record()[holder]:
        row = row_of(record(**{holder: record()[holder] | {member: value}}))
        assert (row.time, row.api, row.bucket, row.key) == (NINE, "GetObject", "ml-voice", "raw/a.wav")
        assert row.bytes == (0 if member == "bytesTransferredOut" else 4096)


def test_a_parameter_given_twice_counts_as_its_first():
    """A requester who repeats a parameter does not make the others, nor the first, go away."""
    twice = {"bucketName": "ml-voice", "key": "raw/a.wav", "versionId": ["v1", "v2"]}
    row = row_of(record(requestParameters=twice, resources=...))
    assert (row.bucket, row.key, row.version_id) == ("ml-voice", "raw/a.wav", "v1")


def test_another_services_parameters_cost_no_s3_record_anything():
    """A DynamoDB call whose `key` is an object stands in the same file: it is skipped, the others are as they were."""
    other = record("GetItem", eventSource="dynamodb.amazonaws.com", requestParameters={"key": {"id": {"S": "1"}}})
    rows, rejects, whole = read(file_of([*numbered(3), other]))
    assert (rejects, whole) == ([], True)
    assert rows[:3] == read(file_of(numbered(3)))[0]
    assert rows[3].skip is Skip.not_s3


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        (0, 0),
        (7, 7),
        (7.0, 7),
        (7.9, 7),
        ("7", 7),
        (..., 0),
        (None, 0),
        (-1, 0),
        (1e300, 0),
        (10**400, 0),
        ("nan", 0),
        (1 << 46, 0),
        ((1 << 46) - 1, (1 << 46) - 1),
        (float("nan"), 0),
        (float("inf"), 0),
        ("many", 0),
        ([7], 0),
    ],
)
def test_bytes_are_a_whole_number_that_can_be(sent, counted):
    """Of any spelling; what can be no size of an object is none."""
    more = {} if sent is ... else {"bytesTransferredOut": sent}
    rows, rejects, _ = read(file_of([record(additionalEventData=more)]))
    assert ([row.bytes for row in rows], rejects) == ([counted], [])


@pytest.mark.parametrize(
    ("sent", "counted"),
    [("604800", 604800), (300, 300), ("-5", -1), (-5, -1), ("٣", -1), ("9" * 5000, -1), (10**30, -1)],
)
def test_the_life_of_a_signed_url_is_a_whole_number_that_can_be(sent, counted):
    """The requester writes it: what is no number of seconds is null."""
    parameters = {"bucketName": "b", "X-Amz-Expires": sent, "X-Amz-Date": "no time"}
    row = row_of(record(requestParameters=parameters))
    assert (row.signed_for, row.signed_at) == (counted, -1)


@pytest.mark.parametrize(
    "address", ["ec2.amazonaws.com", "AWS Internal", "AWS Internal/4", "2001:db8::1", "no address"]
)
def test_addresses_are_kept_as_written(address):
    """Names of services and IPv6 stand where an IPv4 address may."""
    assert row_of(record(sourceIPAddress=address)).source_ip == address


@pytest.mark.parametrize(
    "agent", ["x\\ud83d", "\\udc00x", "x\\ud83d\\ud83d\\ude00", "\\\\ud83d", "x\\uD83Dy", "\\ud83d\\u0041"]
)
def test_every_text_is_valid_utf8(agent):
    """A cut emoji is repaired, whole ones and escaped backslashes are left; nothing else of the record changes."""
    data = file_of([record(userAgent="AGENT", eventID="e-1"), *numbered(2)]).replace(b"AGENT", agent.encode())
    rows, rejects, whole = read(data)
    expected = json.loads(f'"{agent}"').encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert (len(rows), rejects, whole) == (3, [], True)
    assert rows[0].user_agent == expected
    assert rows[0]._replace(user_agent=None) == row_of(record(userAgent=None, eventID="e-1"))


def test_broken_bytes_in_a_text_are_replaced():
    """Latin-1 in a user agent costs the letter, not the record."""
    rows, rejects, whole = read(file_of([record(userAgent="caf_")]).replace(b"caf_", b"caf\xe9"))
    assert ([row.user_agent for row in rows], rejects, whole) == (["caf\ufffd"], [], True)


@pytest.mark.parametrize(
    "key", ["ключ/ü", "a+b c", "100%25", "new\nline", "k" * 1024, "/lead", "a//b", ":x:", 'quo"te\\']
)
def test_keys_are_kept_as_they_are(key):
    """From the object's ARN or from the parameters alike."""
    parameters = {"bucketName": "ml-voice", "key": key}
    resources = [{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::ml-voice/{key}"}]
    assert row_of(record(requestParameters=parameters, resources=None)).key == key
    assert row_of(record(requestParameters=None, resources=resources))[12:14] == ("ml-voice", key)


# --- time


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("2026-05-01T09:00:00Z", NINE),
        ("2026-05-01T09:00:00.999Z", NINE),
        ("2026-05-01T09:00:00.123456789Z", NINE),
        ("20260501T090000Z", NINE),
        ("2026-05-01T11:00:00+02:00", NINE),
        ("2026-05-01T09:00:00", NINE),
        ("2126-05-01T09:00:00Z", 4_933_299_600),
        ("9999-12-31T23:59:59Z", None),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("garbage", None),
        ("", None),
        ("1777626000", None),
    ],
)
def test_times_are_whole_seconds(text, second):
    """Fractions are cut, basic format and offsets read, what no clock shows is no time."""
    assert epoch(text) == second


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (..., "no_event_time"),
        (None, "no_event_time"),
        ("", "no_event_time"),
        ({}, "no_event_time"),
        ("garbage", "bad_event_time"),
        (1_777_626_000, "bad_event_time"),
        ("9999-12-31T23:59:59Z", "bad_event_time"),
    ],
)
def test_a_record_without_a_time_is_rejected_alone(value, reason):
    """With its position; its neighbours count."""
    rows, rejects, whole = read(file_of([record(), record(eventTime=value), record(eventID="e-2")]))
    assert (len(rows), reasons(rejects), whole) == (2, [(2, reason)], True)


def test_the_time_of_an_export_stands_in_its_timestamp():
    """`@timestamp` counts where there is no eventTime, and only there."""
    assert row_of(record(eventTime=...) | {"@timestamp": "2026-05-01T09:00:00.000Z"}).time == NINE
    assert row_of(record() | {"@timestamp": "2027-05-01T09:00:00.000Z"}).time == NINE


# --- what counts, and as what


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (aggregated(), Skip.aggregated),
        (insight("i-1", "Start"), Skip.insight),
        (record(eventType="AwsVpceEvent", userIdentity=..., eventTime=...), Skip.network_activity),
        (record(eventType=..., eventCategory="NetworkActivity"), Skip.network_activity),
        (record(eventType="AwsServiceEvent", eventName="JobCreated"), Skip.service_event),
        (record("GenerateDataKey", eventSource="kms.amazonaws.com"), Skip.not_s3),
        (kms_decrypt({"aws:ebs:id": "vol-1"}), Skip.not_s3),
        (kms_decrypt(None), Skip.not_s3),
        (kms_decrypt({"aws:s3:arn": []}), Skip.not_s3),
        (record("GetCallerIdentity", eventSource="sts.amazonaws.com"), Skip.not_s3),
        (record("DescribeTrails", eventSource="cloudtrail.amazonaws.com"), Skip.not_s3),
        (record("StopLogging", eventSource="example.amazonaws.com"), Skip.not_s3),
        (record("GetObject", eventSource="backup.amazonaws.com"), Skip.not_s3),
        (record(eventSource=None), Skip.not_s3),
    ],
)
def test_what_is_no_access_to_s3_is_skipped_with_its_reason(made, reason):
    """Valid records of other things are counted apart, and carry nothing else."""
    row = row_of(made)
    assert (row.skip, row.who, row.api, row.operation) == (reason, None, None, Operation.other)


def test_summaries_are_told_apart():
    """Aggregated records have an id of their own spelling; an insight's two ends are two records."""
    made = [aggregated("a-1"), aggregated("a-2"), insight("i-1", "Start"), insight("i-2", "End"), aggregated("a-1")]
    rows, rejects, whole = read(file_of(made))
    assert (len({row.id for row in rows}), rejects, whole) == (4, [], True)
    assert rows[0].id == rows[4].id


@pytest.mark.parametrize(
    ("api", "source", "operation"),
    [
        ("GetObject", "s3.amazonaws.com", Operation.read),
        ("GetObject", "s3express.amazonaws.com", Operation.read),
        ("GetObject", "s3-outposts.amazonaws.com", Operation.read),
        ("GetObject", "s3-object-lambda.amazonaws.com", Operation.read),
        ("CreateSession", "s3express.amazonaws.com", Operation.other),
        ("ANewCall", "s3.amazonaws.com", Operation.other),
        ("PutBucketPolicy", "s3.amazonaws.com", Operation.control),
        ("StopLogging", "cloudtrail.amazonaws.com", Operation.control),
        ("AssumeRole", "sts.amazonaws.com", Operation.assume),
        ("AssumeRoleWithSAML", "sts.amazonaws.com", Operation.assume),
    ],
)
def test_access_events_have_the_class_of_their_call(api, source, operation):
    """S3's calls, the control of trails, and the taking of roles."""
    row = row_of(record(api, eventSource=source))
    assert (row.skip, row.operation, row.api) == (Skip.no, operation, api)


@pytest.mark.parametrize("arn", ["arn:aws:s3:::ml-voice/raw/a.wav", ["arn:aws:s3:::ml-voice/raw/a.wav"]])
def test_a_decryption_for_s3_names_the_object_in_its_context(arn):
    """A bulk read of encrypted objects shows in the key's log too."""
    row = row_of(kms_decrypt({"aws:s3:arn": arn}))
    assert (row.operation, row.bucket, row.key, row.kms_key) == (Operation.decrypt, "ml-voice", "raw/a.wav", KMS_KEY)
    assert row_of(kms_decrypt({"aws:s3:arn": "arn:aws:s3:::ml-voice"}))[12:14] == ("ml-voice", None)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, Outcome.success),
        ("", Outcome.success),
        ("AccessDenied", Outcome.denied),
        ("AccessDeniedException", Outcome.denied),
        ("VpceAccessDenied", Outcome.denied),
        ("AllAccessDisabled", Outcome.denied),
        ("Client.UnauthorizedOperation", Outcome.denied),
        ("NoSuchKey", Outcome.error),
        ("PreconditionFailed", Outcome.error),
    ],
)
def test_outcomes_are_told_by_the_error_code(code, expected):
    """No code is success; anything unauthorised is denied."""
    assert outcome(code) is expected


def test_an_id_is_the_same_in_all_copies_of_a_record():
    """First the id that accounts share, then that of the record that was amended, then the record's own."""
    amended = {"addendum": {"reason": "UPDATED_DATA", "originalEventID": "first"}}
    assert row_of(record() | amended | {"sharedEventID": "shared"}).event_id == "shared"
    assert row_of(record() | amended).event_id == "first"
    assert row_of(record(eventID="first")).id == row_of(record() | amended).id == text_hash("first")


def test_records_without_an_id_are_told_apart_by_their_content():
    """Two different ones are two, two same ones are one."""
    one, other, same = (row_of(record(eventID=..., requestID=r)).id for r in ("1", "2", "1"))
    assert one == same != other


def test_the_read_that_aws_makes_for_a_copy_is_linked_to_it():
    """Only copies and reads by AWS itself carry a link; their `x-amz-id-2` is the same."""
    copied, internal = row_of(copy_object("ml-voice/a.wav")), row_of(record(sourceIPAddress="AWS Internal"))
    assert copied.link == internal.link != 0
    assert row_of(record()).link == 0


# --- where


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("ml-voice/raw/a.wav", ("ml-voice", "raw/a.wav")),
        ("/ml-voice/raw/a.wav", ("ml-voice", "raw/a.wav")),
        ("%2Fml-voice%2Fraw%2Fa.wav", ("ml-voice", "raw/a.wav")),
        ("ml-voice//a.wav", ("ml-voice", "/a.wav")),
        ("ml-voice/a.wav?versionId=3HL4", ("ml-voice", "a.wav")),
        ("ml-voice/what%3FversionId=3", ("ml-voice", "what?versionId=3")),
        ("ml-voice/a%2Bb%20c+d", ("ml-voice", "a+b c d")),
        ("ml-voice/%D0%BA", ("ml-voice", "к")),
        ("ml-voice/%ED%A0%80", ("ml-voice", "\ufffd" * 3)),
        (f"{ACCESS_POINT}/object/raw/a.wav", (None, "raw/a.wav")),
        (f"{ACCESS_POINT}/object/a/object/b".replace(":", "%3A"), (None, "a/object/b")),
        (f"arn:aws:s3-object-lambda:us-east-1:{ACCOUNT}:accesspoint/ol/object/a.wav", (None, "a.wav")),
        (f"arn:aws:s3-outposts:us-east-1:{ACCOUNT}:outpost/op-1/accesspoint/ap/object/a.wav", (None, "a.wav")),
        ("voice-ap-s3alias/a.wav", (None, "a.wav")),
        ("voice-ol--ol-s3/a.wav", (None, "a.wav")),
        ("ml-voice", ("ml-voice", None)),
        ("", (None, None)),
    ],
)
def test_a_copy_is_a_read_of_its_source(header, place):
    """Bucket and key come from the header as S3 reads it; where it went is the destination."""
    row = row_of(copy_object(header))
    assert copy_source(header) == place
    went = (row.destination, row.destination_key)
    assert (row.operation, (row.bucket, row.key), went) == (Operation.copy, place, ("stolen", "new.wav"))


def test_a_copy_that_does_not_say_its_source_has_no_place():
    """Better no bucket than the wrong one."""
    row = row_of(copy_object(None))
    assert (row.bucket, row.key, row.destination) == (None, None, "stolen")


ANSWER = {
    "credentials": {"accessKeyId": "ASIANEXT", "sessionToken": "…", "expiration": "…"},
    "assumedRoleUser": {"assumedRoleId": "AROANEXT:next", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/Next/next"},
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ("AROANEXT:next", f"arn:aws:sts::{ACCOUNT}:assumed-role/Next/next", "ASIANEXT")),
        ({"responseElements": {"credentials": ANSWER["credentials"]}}, (None, None, "ASIANEXT")),
        ({"responseElements": None, "errorCode": "AccessDenied"}, (None, None, None)),
        ({"eventSource": "s3.amazonaws.com", "eventName": "GetObject"}, (None, None, None)),
    ],
)
def test_the_session_that_a_call_began_is_told(changes, told):
    """By principal id, ARN and access key, as far as the answer has them; no other call begins one."""
    made = {
        "eventSource": "sts.amazonaws.com",
        "eventName": "AssumeRole",
        "responseElements": ANSWER,
        "resources": None,
    }
    row = row_of(record(**made | {"requestParameters": {"roleArn": ROLE_ARN}} | changes))
    assert (row.began, row.began_arn, row.began_key) == told


@pytest.mark.parametrize(
    ("arn", "place"),
    [
        ("arn:aws:s3:::b/k/l:m", ("b", "k/l:m")),
        ("arn:aws-cn:s3:::b", ("b", None)),
        ("arn:aws-us-gov:s3:::b/", ("b", None)),
        ("arn:aws:s3:::accesspoint-logs/k", ("accesspoint-logs", "k")),
        ("arn:aws:s3:::accesspoint/object/k", ("accesspoint", "object/k")),
        ("arn:aws:s3:::bucket/k", ("bucket", "k")),
        (f"arn:aws:s3express:us-west-2:{ACCOUNT}:bucket/b--usw2-az1--x-s3/k/l", ("b--usw2-az1--x-s3", "k/l")),
        (f"arn:aws:s3express:us-west-2:{ACCOUNT}:bucket/b--usw2-az1--x-s3", ("b--usw2-az1--x-s3", None)),
        (f"arn:aws:s3-outposts:us-west-2:{ACCOUNT}:outpost/op-1/bucket/b/object/k", ("b", "k")),
        (ACCESS_POINT, (None, None)),
        (f"arn:aws:s3::{ACCOUNT}:accesspoint/x.mrap/object/k", (None, "k")),
        ("arn:aws:s3", (None, None)),
        ("", (None, None)),
    ],
)
def test_an_arn_gives_bucket_and_key(arn, place):
    """In every partition and for every kind of bucket; an access point is none, a bucket called so is one."""
    assert split_arn(arn) == place


@pytest.mark.parametrize("name", [ACCESS_POINT, "voice-ap-abc-s3alias", "ol-abc--ol-s3", "mfzwi23gnjvgw.mrap"])
def test_an_access_point_is_resolved_where_the_record_shows_its_bucket(name):
    """Else there is no bucket: a wrong one would hide the real one."""
    named = {"bucketName": name, "key": "raw/a.wav"}
    shown, hidden = row_of(record(requestParameters=named)), row_of(record(requestParameters=named, resources=None))
    assert (shown.bucket, shown.key, shown.access_point) == ("ml-voice", "raw/a.wav", name)
    assert (hidden.bucket, hidden.key, hidden.access_point) == (None, "raw/a.wav", name)


def test_an_access_point_among_the_resources_is_named():
    """Beside the bucket it stands for."""
    point = {"type": "AWS::S3::AccessPoint", "ARN": ACCESS_POINT, "accountId": ACCOUNT}
    row = row_of(record(resources=[*record()["resources"], point]))
    assert (row.bucket, row.access_point) == ("ml-voice", ACCESS_POINT)


def test_a_list_has_a_bucket_and_no_key():
    """The prefix's entry among the resources has no ARN."""
    entries = [{"type": "AWS::S3::Object", "ARNPrefix": "arn:aws:s3:::ml-voice/"}, record()["resources"][1]]
    row = row_of(record("ListObjects", requestParameters={"bucketName": "x", "prefix": "raw/"}, resources=entries))
    assert (row.operation, row.bucket, row.key) == (Operation.list, "ml-voice", None)


# --- who


def test_a_role_session_is_keyed_by_ids():
    """Session by `aws:userid`, role by its unique id, both shown by ARN."""
    found = who(assumed_role())
    assert found[:7] == (
        "AssumedRole",
        f"{ROLE_ID}:contractor-42",
        SESSION_ARN,
        ROLE_ID,
        ROLE_ARN,
        ACCOUNT,
        "contractor-42",
    )
    assert (found.principal_id, found.access_key) == (f"{ROLE_ID}:contractor-42", "ASIAEXAMPLEKEY000001")
    assert (found.issued_at, found.mfa, found.invoked_by, found.source_identity) == (NINE, False, None, None)


def test_both_copies_of_a_cross_account_read_name_one_session():
    """The bucket owner's copy knows the foreign role by id and account only."""
    foreign = who({"type": "AWSAccount", "principalId": f"{ROLE_ID}:contractor-42", "accountId": ACCOUNT})
    own = who(assumed_role())
    assert (foreign.session, foreign.role, foreign.account) == (own.session, own.role, own.account)
    assert foreign.session_name == own.session_name
    assert (foreign.session_shown, foreign.role_shown) == (f"{ACCOUNT}:{ROLE_ID}:contractor-42", f"{ACCOUNT}:{ROLE_ID}")


ROOT = f"arn:aws:iam::{ACCOUNT}:root"
FEDERATED = f"arn:aws:sts::{ACCOUNT}:federated-user/bob"
KEYED_BY_ARN = [
    iam_user(),
    {"type": "Root", "principalId": ACCOUNT, "arn": ROOT, "accountId": ACCOUNT},
    {"type": "FederatedUser", "principalId": f"{ACCOUNT}:bob", "arn": FEDERATED, "accountId": ACCOUNT},
]


@pytest.mark.parametrize("identity", KEYED_BY_ARN, ids=lambda one: one["type"])
def test_users_are_keyed_and_shown_by_their_arn(identity):
    """At both levels; without an arn by the principal's id."""
    assert who(identity)[1:6] == (identity["arn"],) * 4 + (ACCOUNT,)
    assert who(identity | {"arn": None})[1:5] == (identity["principalId"],) * 4


@pytest.mark.parametrize(
    ("identity", "session", "account"),
    [
        (None, "unknown:unknown", "unknown"),
        ({}, "unknown:unknown", "unknown"),
        ({"type": "Unknown"}, "unknown:Unknown", "unknown"),
        ({"type": "SomethingNew", "principalId": "p", "accountId": "1"}, "p", "1"),
        ({"type": "AWSAccount", "accountId": "444455556666"}, "444455556666:AWSAccount", "444455556666"),
        ({"type": "AWSAccount", "principalId": "AIDAFOREIGN", "accountId": "4"}, "AIDAFOREIGN", "4"),
        ({"type": "Role", "principalId": ROLE_ID, "arn": ROLE_ARN, "accountId": ACCOUNT}, ROLE_ID, ACCOUNT),
        ({"type": "Role", "arn": ROLE_ARN}, ROLE_ARN, ACCOUNT),
        ({"type": "Directory", "userName": "x", "accountId": "1"}, "x", "1"),
        ({"type": "SAMLUser", "principalId": "idp:dana", "userName": "dana"}, "idp:dana", "unknown"),
        ({"type": "WebIdentityUser", "principalId": "accounts.google.com:a:b"}, "accounts.google.com:a:b", "unknown"),
        (
            {"type": "IdentityCenterUser", "accountId": "1", "onBehalfOf": {"userId": "u-1"}, "credentialId": "c"},
            "u-1",
            "1",
        ),
        ({"type": "IdentityCenterUser", "accountId": "1", "credentialId": "c"}, "c", "1"),
        (
            {"type": "AWSService", "invokedBy": "replication.s3.amazonaws.com"},
            "service:replication.s3.amazonaws.com",
            "service:replication.s3.amazonaws.com",
        ),
        ({"accountId": "1", "invokedBy": "ec2.amazonaws.com"}, "service:ec2.amazonaws.com", "1"),
        ({"type": "AWSService"}, "service:unknown", "service:unknown"),
        ({"type": "AssumedRole"}, "unknown:unknown", "unknown"),
        ({"type": "AssumedRole", "arn": SESSION_ARN}, SESSION_ARN, ACCOUNT),
    ],
)
def test_every_kind_of_identity_has_a_value_at_every_level(identity, session, account):
    """Whatever is missing: nobody falls out of a count."""
    found = who(identity)
    assert (found.session, found.account) == (session, account)


def test_a_role_named_as_itself_is_the_role_of_its_sessions():
    """Type Role and type AssumedRole agree on the role's key."""
    assert who({"type": "Role", "principalId": ROLE_ID, "arn": ROLE_ARN}).role == who(assumed_role()).role == ROLE_ID


@pytest.mark.parametrize("account", ["anonymous", "ANONYMOUS_PRINCIPAL"])
def test_anonymous_requests_are_told_apart_by_address(account):
    """One session an address, one role."""
    found = who({"type": "AWSAccount", "principalId": "", "accountId": account}, sourceIPAddress="192.0.2.9")
    assert (found.type, found.session, found.role, found.account) == (
        "anonymous",
        "anonymous@192.0.2.9",
        "anonymous",
        "anonymous",
    )


def test_a_service_that_acts_for_somebody_is_not_the_one_who_acts():
    """`invokedBy` beside an identity is kept as such; the identity counts, also if all that is left is its issuer."""
    found = who(assumed_role(invokedBy="athena.amazonaws.com"))
    assert (found.role, found.invoked_by) == (ROLE_ID, "athena.amazonaws.com")
    bare = {name: value for name, value in assumed_role().items() if name not in {"principalId", "arn"}}
    assert who(bare | {"invokedBy": "athena.amazonaws.com"}).role == ROLE_ID


@pytest.mark.parametrize(
    ("attributes", "issued_at", "mfa"),
    [
        ({"creationDate": "20260501T090000Z", "mfaAuthenticated": "true"}, NINE, True),
        ({"creationDate": "2026-05-01T09:00:00Z", "mfaAuthenticated": True}, NINE, True),
        ({"creationDate": "never", "mfaAuthenticated": "false"}, None, False),
        ({}, None, None),
        (None, None, None),
    ],
)
def test_session_attributes_are_read_in_every_spelling(attributes, issued_at, mfa):
    """Both shapes of the date; a flag that is a text."""
    found = who(assumed_role(sessionContext={"attributes": attributes, "sourceIdentity": "dana@example.org"}))
    assert (found.issued_at, found.mfa, found.source_identity) == (issued_at, mfa, "dana@example.org")


def test_an_account_written_as_a_number_is_read():
    """Exports through a table program make numbers of account ids."""
    assert who(iam_user(accountId=111122223333)).account == ACCOUNT


# --- forms of a document


THREE = numbered(3)
COMPACT = [json.dumps(one, separators=(",", ":")) for one in THREE]
FORMS = {
    "file": file_of(THREE).decode(),
    "file, spaced": json.dumps({"Records": THREE}),
    "file, pretty": json.dumps({"Records": THREE}, indent=2),
    "file, Records not first": json.dumps({"note": 1, "more": [1], "Records": THREE, "end": {}}),
    "file, byte order mark": "\ufeff" + file_of(THREE).decode(),
    "two files": file_of(THREE[:2]).decode() + file_of(THREE[2:]).decode(),
    "two files, a line each": file_of(THREE[:2]).decode() + "\n" + file_of(THREE[2:]).decode() + "\n",
    "array": json.dumps(THREE),
    "array, pretty": json.dumps(THREE, indent=0),
    "arrays, a line each": json.dumps(THREE[:2]) + "\n" + json.dumps(THREE[2:]),
    "lines": "\n".join(COMPACT),
    "lines, blank ones and a last one": "\n".join(COMPACT[:2]) + "\n\n\r\n" + COMPACT[2] + "\n",
    "lines, pretty": "\n".join(json.dumps(one, indent=4) for one in THREE),
    "EventBridge, lines": "\n".join(json.dumps(eventbridge(one)) for one in THREE),
    "EventBridge, array": json.dumps([eventbridge(one) for one in THREE]),
    "CloudWatch Logs": json.dumps(log_events(THREE)),
    "CloudWatch Logs, lines": "\n".join(json.dumps(log_events([one])) for one in THREE),
    "CloudWatch Logs, with a probe": json.dumps(log_events([], "CONTROL_MESSAGE")) + json.dumps(log_events(THREE)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_record_is_the_same_in_every_form_of_document(form):
    """Rows do not depend on how the records are wrapped."""
    assert read(FORMS[form].encode()) == (read(file_of(THREE))[0], [], True)


@pytest.mark.parametrize("wrap", [lambda one: one, eventbridge, lambda one: log_events([one])])
def test_a_single_event_is_a_document(wrap):
    """Bare or wrapped, pretty or not."""
    for indent in (None, 2):
        assert read(json.dumps(wrap(record()), indent=indent).encode()) == ([row_of(record())], [], True)


@pytest.mark.parametrize(
    "data", [b'{"Records": []}', b"[]", b"", b" \n", json.dumps(log_events([], "CONTROL_MESSAGE")).encode()]
)
def test_an_empty_document_is_whole(data):
    """No records is no damage."""
    assert read(data) == ([], [], True)


@pytest.mark.parametrize("odd", [None, 5, 1.5, "text", True, [], [record()], [[]]])
def test_what_is_no_object_is_no_record(odd):
    """It is rejected where it stands."""
    rows, rejects, whole = read(file_of([*numbered(1), odd, *numbered(2)]))
    assert (len(rows), reasons(rejects), whole) == (3, [(2, "not_a_record")], True)


def test_a_cut_emoji_inside_a_log_event_is_repaired():
    """The text is escaped twice there."""
    data = json.dumps(log_events([record(userAgent="cut\ud83d"), record()])).encode()
    rows, rejects, whole = read(data)
    assert ([row.user_agent for row in rows], rejects, whole) == (["cut\ufffd", "aws-cli/2.15"], [], True)


def test_a_log_event_without_a_message_is_no_record():
    """The others of the same payload count."""
    payload = log_events(numbered(2))
    payload["logEvents"][1:1] = [{"id": "x"}, None]
    rows, rejects, _ = read(json.dumps(payload).encode())
    assert (len(rows), reasons(rejects)) == (2, [(2, "not_a_record"), (3, "not_a_record")])


# --- broken documents


def test_too_deep_a_record_costs_only_itself():
    """No nesting stops the parser, and what is nested in it is not taken for records."""
    forged = json.dumps(record(eventID="forged"))
    deep = f'{{"eventVersion":"1.11","requestParameters":{{"x":[{forged},{DEEP}]}}}}'
    data = '{"Records":[' + ",".join([COMPACT[0], deep, *COMPACT[1:]]) + "]}"
    rows, rejects, whole = read(data.encode())
    assert (rows, reasons(rejects), whole) == (read(file_of(THREE))[0], [(2, "too_deep")], True)


def deep(levels):
    """A record that nests so deep, in a member that nobody reads."""
    return '{"eventVersion":"1.11","x":' + "[" * (levels - 1) + "]" * (levels - 1) + "," + COMPACT[1][1:]


def within(most, data, frames=0):
    """What `read` gives with this limit, called from as many frames further down."""
    if frames:
        return within(most, data, frames - 1)
    into = BatchBuilder()
    kind = read_file(data.encode(), "f", into, Limits(nesting=most)).kind
    return kind, *taken(into)


IN = {
    "file": lambda pieces: '{"Records":[' + ",".join(pieces) + "]}",
    "array": lambda pieces: "[" + ",".join(pieces) + "]",
    "lines": "\n".join,
    "CloudWatch Logs": lambda pieces: json.dumps(
        log_events([]) | {"logEvents": [{"id": "1", "timestamp": 1, "message": piece} for piece in pieces]}
    ),
}


@pytest.mark.parametrize("form", IN)
@pytest.mark.parametrize("most", [20, 1000, 20_000])
def test_a_record_nested_past_the_limit_costs_only_itself(form, most):
    """One level more than the limit is rejected, the limit itself is read, in every form, whoever calls."""
    for frames in (0, 300):
        good = within(most, IN[form]([COMPACT[0], deep(most), COMPACT[2]]), frames)
        assert good == within(most, IN[form](COMPACT))
        _, rows, rejects = within(most, IN[form]([COMPACT[0], deep(most + 1), COMPACT[2]]), frames)
        assert (len(rows), reasons(rejects)) == (2, [(2, "too_deep")])
        assert rejects[0].detail == f"{most + 1:,} levels; limits.nesting is {most:,}"


def test_brackets_in_a_text_nest_nothing():
    """A user agent of brackets is a text, with escaped quotes among them too."""
    data = file_of([record(userAgent='[{"[{\\"[' * 50)]).decode()
    assert len(within(10, data)[1]) == 1


def test_a_deep_record_is_judged_alike_beside_a_broken_one():
    """Which way a document is read changes no verdict: what is not read may be as deep as the limit allows."""
    pieces = [COMPACT[0], deep(1500), COMPACT[2], '{"eventVersion" ']
    for most, rejected in ((1500, [(4, "broken_json")]), (1499, [(2, "too_deep"), (4, "broken_json")])):
        _, rows, rejects = within(most, IN["file"](pieces))
        assert (len(rows), reasons(rejects)) == (4 - len(rejected), rejected)


@pytest.mark.parametrize("levels", [50, 5000])
def test_a_deep_identity_is_read_by_its_upper_levels(levels):
    """It names the same principal, however deep it is where nobody reads."""
    odd = '"userIdentity":{"x":' + "[" * levels + "]" * levels + ","
    data = IN["file"]([COMPACT[0].replace('"userIdentity":{', odd)])
    assert within(20_000, data) == within(20_000, IN["file"](COMPACT[:1]))


@pytest.mark.parametrize(
    "broken",
    [
        '{"eventVersion":"1.11","eventTime":tru}',
        '{"eventVersion":"1.11","eventTime":"2026-05',
        '{"eventVersion":"1.11","userIdentity":{"type":"Assu',
        '{"eventVersion":"1.11","userIdentity"}',
        '{"eventVersion" "1.11"}',
        "garbage",
        "\x00\x01",
    ],
)
@pytest.mark.parametrize("form", ["file", "array", "lines", "pretty"])
def test_a_break_costs_one_record(broken, form):
    """In the middle of a document: what stands before and after it counts, and the place is named."""
    separator, head, tail = {
        "file": (",", '{"Records":[', "]}"),
        "array": (",", "[", "]"),
        "lines": ("\n", "", ""),
    }.get(form, (",\n  ", '{\n "Records": [\n  ', "\n]}"))
    data = head + separator.join([*COMPACT[:2], broken, COMPACT[2]]) + tail
    rows, rejects, whole = read(data.encode())
    assert (rows, reasons(rejects), whole) == (read(file_of(THREE))[0], [(3, "broken_json")], False)


@pytest.mark.parametrize("half", ['"":"', '"a":"', '"a":', '"a', '{"a":"', '"a":["', '"a":"b","c":"', '"a"\n:\n"'])
def test_half_a_member_takes_no_record_of_another_line(half):
    """A text that does not end on its line is no member that goes on in the record below it."""
    rows, rejects, _ = read(f"{COMPACT[0]}\n{half}\n{COMPACT[1]}\n{COMPACT[2]}\n".encode())
    assert rows == read(file_of(THREE))[0]
    assert rejects


def test_records_that_begin_otherwise_are_found_after_a_break():
    """Exports sort their fields: what begins as the broken record began is the next one."""
    lines = [json.dumps(one, sort_keys=True) for one in THREE]
    data = '{"Records":[' + ",".join([lines[0], lines[1][:-40], lines[2]]) + "]}"
    rows, rejects, whole = read(data.encode())
    assert ([row.event_id for row in rows], reasons(rejects), whole) == (["e-0", "e-2"], [(2, "broken_json")], False)


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("CloudWatch")])
def test_a_cut_document_gives_the_records_before_the_cut(form):
    """At every place: what is whole is read, at most one reject more, and only a line's end is no damage."""
    data, full = FORMS[form].encode(), read(file_of(THREE))[0]
    for cut in range(1, len(data), 7):
        rows, rejects, _ = read(data[:cut])
        assert rows == full[: len(rows)]
        assert len(rows) + len(rejects) <= 3 + (form == "file, Records not first")
        assert {reject.reason for reject in rejects} <= {"broken_json", "no_event_time"}


def test_a_cut_between_two_records_is_damage():
    """No record is broken, yet more were to come."""
    data = file_of(THREE)
    cut = data.index(b',{"eventVersion"', 20)
    rows, rejects, whole = read(data[:cut])
    assert (len(rows), rejects, whole) == (1, [], False)
    assert read(data[:-2]) == (read(data)[0], [], False)


def test_a_cut_payload_of_log_events_gives_the_whole_ones():
    """The events before the cut are read though the payload never ends."""
    data = json.dumps(log_events(numbered(10))).encode()
    rows, rejects, whole = read(data[: len(data) // 2])
    assert 3 <= len(rows) <= 5
    assert (reasons(rejects), whole) == ([(len(rows) + 1, "broken_json")], False)


def test_a_document_of_nothing_but_breaks_comes_to_an_end():
    """The number of breaks that are read on after is bounded, and that the rest was not read is said."""
    into = BatchBuilder()
    assert not parse(b'{"eventVersion" ' * 20_000, "f", into)
    rows, rejects = taken(into)
    assert (rows, len(rejects)) == ([], 1001)
    assert "broken in 1000 places: not read on from character" in rejects[-1].detail


def test_a_document_of_records_that_never_close_comes_to_an_end():
    """To look for the end of each takes reading the rest: that is done for some of them, and it is said."""
    into = BatchBuilder()
    assert not parse(b'{"Records":[' + (b'{"eventVersion":' + b"[" * 3000) * 200, "f", into)
    rows, rejects = taken(into)
    assert (rows, len(rejects)) == ([], 21)
    assert "broken in 20 places: not read on from character" in rejects[-1].detail


LONG = record(requestParameters={"bucketName": "voice", "key": "k" * 5000})


@pytest.mark.parametrize("made", [LONG, LONG | {"eventID": 7}], ids=["plain", "of an odd type"])
@pytest.mark.parametrize("wrap", [lambda one: one, eventbridge], ids=["bare", "wrapped"])
def test_a_record_past_the_limit_costs_only_itself(made, wrap):
    """Its neighbours are read, and the reason names the limit and its size; one byte more, and it is read too."""
    data, into = file_of([record(), wrap(made), record()]), BatchBuilder()
    size = len(json.dumps(wrap(made), separators=(",", ":")))
    assert parse(data, "f", into, limits=Limits(record=size - 1))
    rows, rejects = taken(into)
    assert (len(rows), reasons(rejects)) == (2, [(2, "record_too_long")])
    assert rejects[0].detail == f"{size:,} bytes; limits.record is {size - 1:,}"
    assert parse(data, "f", into, limits=Limits(record=size))
    assert (into.rows, into.rejects) == (3, [])


# --- laws

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
names = st.text(max_size=4)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
nested = st.dictionaries(
    st.sampled_from(["type", "principalId", "arn", "accountId", "sessionContext", "attributes", "bucketName", "key",
                     "x-amz-copy-source", "bytesTransferredOut", "X-Amz-Expires", "X-Amz-Date", "encryptionContext",
                     "creationDate", "sessionIssuer", "invokedBy", "ARN"]), values, max_size=6)  # fmt: skip
odd_records = st.builds(
    lambda base, odd: base | odd,
    st.sampled_from([record(), copy_object("b/k"), kms_decrypt({"aws:s3:arn": "arn:aws:s3:::b/k"}), aggregated(), {}]),
    st.dictionaries(
        st.sampled_from([*record(), "addendum", "sharedEventID", "@timestamp"]), values | nested, max_size=4
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(odd_records | values.filter(lambda one: not isinstance(one, dict)), max_size=6))
def test_the_books_balance_for_any_records(records):
    """Rows and rejects together are as many as there were records; every text is valid UTF-8, every number fits."""
    into = BatchBuilder()
    parse(json.dumps({"Records": records}).encode(), "file", into)
    assert len(into) == len(records)
    batch = into.build()
    for row in rows_of(batch):
        texts = [cell for cell in (*row, *(row.who or ())) if isinstance(cell, str)]
        assert all(text.encode().decode() == text for text in texts)
    assert batch.bytes.dtype == np.int64
    assert (batch.bytes >= 0).all()


def test_a_record_without_an_id_is_named_by_what_is_read_of_it():
    """Whoever wrapped it, and however the identity is spelled: the same id; another event time: another."""
    nameless = {name: value for name, value in record().items() if name != "eventID"}
    (one,), (other,) = read(file_of([nameless]))[0], read(file_of([eventbridge(nameless)]))[0]
    spelled = json.dumps([nameless | {"userIdentity": nameless["userIdentity"] | {"unread": 1}}], indent=1)
    assert one == other == read(spelled.encode())[0][0]
    assert one.id != read(file_of([nameless | {"eventTime": "2026-05-01T09:00:01Z"}]))[0][0].id


@settings(deadline=None)
@given(st.lists(odd_records, max_size=5))
def test_the_form_of_a_document_changes_no_row(records):
    """A file, lines, and EventBridge's wrapping give the same rows and the same rejects for any records."""
    plain = read(file_of(records))
    lines = "\n".join(json.dumps(one) for one in records).encode()
    wrapped = json.dumps([eventbridge(one) for one in records]).encode()
    assert Counter(reasons(plain[1])) == Counter(reasons(read(wrapped)[1])) == Counter(reasons(read(lines)[1]))
    assert repr(plain[0]) == repr(read(wrapped)[0]) == repr(read(lines)[0])


@settings(deadline=None)
@given(st.integers(0, 2000), st.integers(0, 60), st.binary(max_size=12))
def test_damage_of_any_kind_is_no_crash(at, lost, junk):
    """Whatever is put in or taken out of a document, it is read to its end and the batch can be built."""
    data = file_of(THREE)
    read(data[:at] + junk + data[at + lost :])
