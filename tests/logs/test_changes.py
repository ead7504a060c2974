"""What calls that change settings do: in the forms real records have, in odd ones, and in hostile ones."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.builder import BatchBuilder
from detector.core.fields import Change
from detector.logs import changes
from detector.logs.read import read
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import ACCOUNT, copy_object, file_of, record, rows_of

OTHER = "444455556666"
ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
ANYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::voice/*"}
OFF = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), False)
ON = dict.fromkeys(OFF, True)


def policy(*statements, **more):
    return {"bucketPolicy": {"Version": "2012-10-17", "Statement": list(statements)}, "policy": ""} | more


def encrypted(algorithm):
    default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}, "BucketKeyEnabled": True}
    return {"ServerSideEncryptionConfiguration": {"xmlns": "x", "Rule": default}}


def selector(kind="AWS::S3::Object", values=("arn:aws:s3",), how="All"):
    resources = [{"type": kind, "values": list(values)}] if kind else []
    return {"eventSelectors": [{"readWriteType": how, "includeManagementEvents": True, "dataResources": resources}]}


def advanced(*fields):
    named = [{"field": field, "equals": list(equals)} for field, *equals in fields]
    return {"advancedEventSelectors": [{"name": "data", "fieldSelectors": named}]}


def replication(**destination):
    rule = {"Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::copies"} | destination}
    return {"replication": "", "ReplicationConfiguration": {"Role": "arn:aws:iam::1:role/r", "Rule": rule}}


CASES = [
    ("PutBucketPolicy", policy(ANYBODY), "public_policy"),
    ("PutBucketPolicy", policy(ANYBODY | {"Principal": {"AWS": ["*"]}}), "public_policy"),
    ("PutBucketPolicy", policy(ANYBODY | {"Effect": "Deny"}), None),
    ("PutBucketPolicy", policy(ANYBODY | {"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}), "public_policy"),
    ("PutBucketPolicy", policy(ANYBODY | {"Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}), None),
    ("PutBucketPolicy", policy({"Effect": "Allow", "NotPrincipal": {"AWS": OTHER}}), "public_policy"),
    ("PutBucketPolicy", policy(ANYBODY | {"Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"}}), "foreign_policy"),
    ("PutBucketPolicy", policy(ANYBODY | {"Principal": {"AWS": [OTHER, "*"]}}), "foreign_policy public_policy"),
    ("PutBucketPolicy", policy(ANYBODY | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/r"}}), None),
    ("PutBucketPolicy", policy(ANYBODY | {"Principal": {"Service": "logging.s3.amazonaws.com"}}), None),
    ("PutBucketPolicy", {"bucketPolicy": {"statement": {"effect": "ALLOW", "principal": "*"}}}, "public_policy"),
    ("PutAccessPointPolicy", {"policy": '{"Statement": [{"Effect": "Allow", "Principal": "*"}]}'}, "public_policy"),
    ("DeleteBucketPolicy", {"policy": ""}, "policy_removed"),
    ("PutBucketAcl", {"acl": "", "x-amz-acl": ["public-read"]}, "public_acl"),
    ("PutBucketAcl", {"acl": "", "accessControlList": {"x-amz-grant-write-acp": f'uri="{ALL}"'}}, "public_acl"),
    ("PutBucketAcl", {"acl": "", "x-amz-acl": "private"}, None),
    (
        "PutBucketAcl",
        {"AccessControlPolicy": {"AccessControlList": {"Grant": {"Grantee": {"URI": ALL}, "Permission": "READ"}}}},
        "public_acl",
    ),
    (
        "PutObjectAcl",
        {
            "AccessControlPolicy": {
                "Owner": {"ID": "me"},
                "AccessControlList": {"Grant": [{"Grantee": {"ID": "me"}}, {"Grantee": {"ID": "her"}}]},
            }
        },
        "foreign_acl",
    ),
    ("PutObject", {"x-amz-acl": "public-read-write"}, "public_acl"),
    ("PutBucketPublicAccessBlock", {"PublicAccessBlockConfiguration": OFF}, "public_access_allowed"),
    ("PutBucketPublicAccessBlock", {"PublicAccessBlockConfiguration": ON | {"xmlns": "x"}}, None),
    (
        "PutAccountPublicAccessBlock",
        {"PublicAccessBlockConfiguration": {"BlockPublicAcls": "true"}},
        "public_access_allowed",
    ),
    ("DeleteBucketPublicAccessBlock", {"publicAccessBlock": ""}, "public_access_allowed"),
    (
        "PutBucketOwnershipControls",
        {"OwnershipControls": {"Rule": {"ObjectOwnership": "ObjectWriter"}}},
        "acls_enabled",
    ),
    ("PutBucketOwnershipControls", {"OwnershipControls": {"Rule": {"ObjectOwnership": "BucketOwnerEnforced"}}}, None),
    ("PutBucketEncryption", encrypted("AES256"), "encryption_weakened"),
    ("PutBucketEncryption", encrypted("aws:kms"), None),
    ("DeleteBucketEncryption", {"encryption": ""}, "encryption_weakened"),
    ("PutBucketVersioning", {"VersioningConfiguration": {"Status": "Suspended"}}, "versioning_suspended"),
    (
        "PutBucketVersioning",
        {"VersioningConfiguration": {"Status": "Enabled", "MfaDelete": "Disabled"}},
        "mfa_delete_off",
    ),
    ("PutBucketLifecycle", {"LifecycleConfiguration": {"Rule": {"Expiration": {"Days": 1}}}}, "lifecycle_deletes"),
    (
        "PutBucketLifecycle",
        {"LifecycleConfiguration": {"Rule": [{}, {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}]}},
        "lifecycle_deletes",
    ),
    ("PutBucketLifecycle", {"LifecycleConfiguration": {"Rule": {"Transition": {"Days": 1}}}}, None),
    ("DeleteBucketLifecycle", {"lifecycle": ""}, "lifecycle_removed"),
    ("PutBucketLogging", {"BucketLoggingStatus": {"xmlns": "x"}, "logging": ""}, "logging_off"),
    ("PutBucketLogging", {"BucketLoggingStatus": {"LoggingEnabled": {"TargetBucket": "logs"}}}, None),
    ("PutBucketReplication", replication(), "replication"),
    ("PutBucketReplication", replication(Account=ACCOUNT), "replication"),
    ("PutBucketReplication", replication(Account=OTHER), "replication replication_foreign"),
    ("PutObjectRetention", {"x-amz-bypass-governance-retention": "true"}, "lock_weakened"),
    ("DeleteObject", {"x-amz-bypass-governance-retention": "true"}, "lock_weakened"),
    ("PutObjectLegalHold", {"LegalHold": {"Status": "OFF"}}, "lock_weakened"),
    ("PutObjectLockConfiguration", {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}, "lock_weakened"),
    ("StopLogging", {"name": "trail"}, "trail_stopped"),
    ("DeleteTrail", {"name": "trail"}, "trail_stopped"),
    ("UpdateTrail", {"name": "trail", "isMultiRegionTrail": False}, "trail_narrowed"),
    ("UpdateTrail", {"name": "trail", "isMultiRegionTrail": True, "includeGlobalServiceEvents": True}, None),
    ("PutEventSelectors", selector(None), "data_events_off"),
    ("PutEventSelectors", selector(), None),
    ("PutEventSelectors", selector(how="WriteOnly"), "reads_not_logged"),
    ("PutEventSelectors", selector("AWS::Lambda::Function"), "data_events_off"),
    ("PutEventSelectors", advanced(("eventCategory", "Data"), ("resources.type", "AWS::S3::Object")), None),
    (
        "PutEventSelectors",
        advanced(("resources.type", "AWS::S3::Object"), ("readOnly", "false")),
        "reads_not_logged",
    ),
    ("PutEventSelectors", advanced(("eventCategory", "Management")), "data_events_off"),
    ("CreateAccessPoint", {"CreateAccessPointRequest": {"Bucket": "voice"}}, "open_access_point"),
    ("CreateAccessPoint", {"CreateAccessPointRequest": {"VpcConfiguration": {"VpcId": "vpc-1"}}}, None),
    (
        "CreateAccessPoint",
        {"CreateAccessPointRequest": {"VpcConfiguration": {"VpcId": "vpc-1"}, "BucketAccountId": OTHER}},
        "foreign_access_point",
    ),
]


def rows(*records):
    into = BatchBuilder()
    assert read(file_of(list(records)), "trail", into).kind == "cloudtrail"
    return rows_of(into.build())


@pytest.mark.parametrize(
    ("api", "parameters", "words"), CASES, ids=[f"{a} {w} {n}" for n, (a, _, w) in enumerate(CASES)]
)
def test_a_call_has_the_words_for_what_it_does(api, parameters, words):
    """Read from a record as CloudTrail writes it, among others."""
    source = "cloudtrail.amazonaws.com" if api in TRAIL else "s3.amazonaws.com"
    bucket = {"accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::voice"}
    resources = None if api in TRAIL else [bucket]
    one = record(api, eventSource=source, requestParameters={"bucketName": "voice", **parameters}, resources=resources)
    found = rows(record(eventID="e-0"), one, record(eventID="e-2"))
    assert [row.change for row in found] == [None, words, None]


TRAIL = {"StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors"}


def test_every_word_is_found_somewhere():
    """No word of the language without a call that has it here."""
    assert {word for _, _, words in CASES for word in (words or "").split()} == set(get_args(Change))


def test_where_a_replication_goes_is_its_destination():
    """Bucket and account, of the rule that names an account."""
    rules = [
        {"Destination": {"Bucket": "arn:aws:s3:::near"}},
        {"Destination": {"Bucket": "arn:aws:s3:::far", "Account": OTHER}},
    ]
    one = record(
        "PutBucketReplication",
        requestParameters={"bucketName": "voice", "ReplicationConfiguration": {"Rule": rules}},
        resources=[{"accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::voice"}],
    )
    (row,) = rows(one)
    assert (row.bucket, row.bucket_account, row.destination, row.destination_account) == (
        "voice",
        ACCOUNT,
        "far",
        OTHER,
    )


def test_who_owns_the_bucket_is_told_and_of_a_copy_who_owns_its_destination():
    """The account among the resources, wherever it stands; of a record without one nothing is said."""
    of_bucket = {"accountId": OTHER, "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::voice"}
    of_object = {"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::voice/a"}
    for resources in (
        [of_object, of_bucket],
        [of_bucket],
        [of_object, {"type": "x"}, of_bucket],
        [of_bucket, of_object],
    ):
        (row,) = rows(record(resources=resources))
        assert (row.bucket_account, row.destination_account) == (OTHER, None)
        (row,) = rows(copy_object("source/a.wav") | {"resources": resources})
        assert (row.bucket, row.bucket_account, row.destination_account) == ("source", None, OTHER)
    assert rows(record(resources=None))[0].bucket_account is None


def test_the_key_that_was_used_is_known_by_the_answer():
    """Default encryption: the request names no key, the answer does."""
    answer = {"x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:x:1:key/used"}
    asked = {"bucketName": "voice", "key": "a", "x-amz-server-side-encryption-aws-kms-key-id": "alias/asked"}
    (row,) = rows(record("PutObject", requestParameters=asked, responseElements=answer))
    assert row.kms_key == "arn:aws:kms:x:1:key/used"
    (row,) = rows(record("PutObject", requestParameters=asked, responseElements=None))
    assert row.kms_key == "alias/asked"


@needs_real_logs
def test_real_attacks_have_their_words():
    """Recorded by others: a trail stopped, selectors emptied, a bucket shared with a stranger, versioning suspended."""
    found: set[str] = set()
    for path in sorted((REAL_LOGS / "cloudtrail").rglob("*")):
        if path.is_file():
            into = BatchBuilder(frozenset({"change", "api"}))
            read(path.read_bytes(), path.name, into)
            found |= {word for text in into.build().text["change"].values for word in text.split()}
    assert found >= {
        "trail_stopped", "data_events_off", "foreign_policy", "lifecycle_deletes", "lifecycle_removed",
        "policy_removed", "versioning_suspended", "replication", "public_acl",
    }  # fmt: skip


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["*", "Allow", ALL, "true"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Statement", "Rule", "Principal", "AWS", "Effect", "Grant", "Condition"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(sorted({api for api, _, _ in CASES})),
    st.dictionaries(st.sampled_from(sorted({name for _, given_, _ in CASES for name in given_})), values),
)
def test_odd_parameters_have_words_or_none(api, parameters):
    """No form stops the reader, and no word comes that is not in the language."""
    words = changes.change(api, parameters, ACCOUNT)
    assert words is None or set(words.split()) <= set(get_args(Change))
    bucket, account = changes.replicated_to(parameters)
    assert bucket is None or isinstance(bucket, str)
    assert account is None or isinstance(account, str)
