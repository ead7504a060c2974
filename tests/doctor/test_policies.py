"""Whether a resource's policy lets a service in: with policies as AWS's own pages and our templates write them."""

import json

import pytest

from detector.doctor.policies import Request, lets_in

QUEUE = "arn:aws:sqs:us-east-1:111122223333:notices"
BUCKET = "arn:aws:s3:::trail-logs"
REQUEST = Request("s3.amazonaws.com", "sqs:SendMessage", QUEUE, BUCKET, "111122223333")
PLAIN = {
    "Effect": "Allow",
    "Principal": {"Service": "s3.amazonaws.com"},
    "Action": "SQS:SendMessage",
    "Resource": QUEUE,
}
TLS = {
    "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": QUEUE,
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}  # fmt: skip

NEGATED = {k: v for k, v in PLAIN.items() if k != "Action"} | {"NotAction": "sqs:SendMessage"}


def with_(statement=PLAIN, /, **changes):
    return {**statement, **changes}


def when(**conditions):
    return with_(Condition=conditions)


CASES = [
    ("plain", [PLAIN], "yes"),
    ("one statement, not a list", PLAIN, "yes"),
    ("TLS only", [PLAIN, TLS], "yes"),
    ("several services", [with_(Principal={"Service": ["sns.amazonaws.com", "s3.amazonaws.com"]})], "yes"),
    ("everybody, from the bucket", [with_(Principal="*", Condition={"ArnEquals": {"aws:SourceArn": BUCKET}})], "yes"),
    ("AWS *", [with_(Principal={"AWS": "*"})], "yes"),
    ("action by wildcard", [with_(Action=["sqs:Send*"])], "yes"),
    ("without resource", [{k: v for k, v in PLAIN.items() if k != "Resource"}], "yes"),
    ("source like", [when(ArnLike={"aws:SourceArn": "arn:aws:s3:*:*:trail-*"})], "yes"),
    ("key in capitals", [when(StringEquals={"AWS:SourceAccount": "111122223333"})], "yes"),
    ("both", [when(ArnLike={"aws:SourceArn": BUCKET}, StringEquals={"aws:SourceAccount": "111122223333"})], "yes"),
    ("not another", [when(ArnNotEquals={"aws:SourceArn": "arn:aws:s3:::other"})], "yes"),
    ("nothing", [], "no"),
    ("another service", [with_(Principal={"Service": "sns.amazonaws.com"})], "no"),
    ("another account's user", [with_(Principal={"AWS": "arn:aws:iam::444455556666:root"})], "no"),
    ("another action", [with_(Action="sqs:ReceiveMessage")], "no"),
    ("all but this action", [NEGATED], "no"),
    ("another queue", [with_(Resource=QUEUE + "-2")], "no"),
    ("another bucket", [when(ArnLike={"aws:SourceArn": "arn:aws:s3:::other"})], "no"),
    ("another account", [when(StringEquals={"aws:SourceAccount": "444455556666"})], "no"),
    ("not this one", [when(StringNotEquals={"aws:SourceAccount": "111122223333"})], "no"),
    ("denied", [PLAIN, with_(Effect="Deny")], "no"),
    ("one sure no", [when(StringEquals={"aws:PrincipalOrgID": "o-1"}, ArnLike={"aws:SourceArn": "x"})], "no"),
    ("organisation", [when(StringEquals={"aws:SourceOrgID": "o-1"})], "unclear"),
    ("unknown operator", [when(NumericEquals={"aws:SourceAccount": "1"})], "unclear"),
    ("perhaps denied", [PLAIN, when(StringNotEquals={"aws:SourceOrgID": "o-1"}) | {"Effect": "Deny"}], "unclear"),
    ("perhaps, and surely", [PLAIN, when(StringEquals={"aws:SourceOrgID": "o-1"})], "yes"),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_policy_lets_in_whom_it_names(statements, expected):
    policy = {"Version": "2012-10-17", "Statement": statements}
    assert lets_in(policy, REQUEST) == expected
    assert lets_in(json.dumps(policy), REQUEST) == expected


@pytest.mark.parametrize("policy", ["", "no json", "[]", "{}", None, {"Statement": "x"}, {"Statement": [1]}])
def test_what_is_no_policy_lets_nobody_in(policy):
    assert lets_in(policy, REQUEST) == "no"
