"""How a protected bucket's encryption is judged: the key, and what of its use the logs tell."""

import pytest

from detector.doctor.encryption import encryption
from detector.doctor.subject import Subject
from tests.doctor.asked import ABSENT, DENIED, Asked

OURS = "arn:aws:kms:us-east-1:111122223333:key/0b8e"


def judged(answer):
    """The results for one protected bucket; another is not looked at."""
    ask = Asked(
        s3__list_buckets={"Buckets": [{"Name": "ml-voice-raw"}, {"Name": "builds"}]}, s3__get_bucket_encryption=answer
    )
    subject = Subject(
        queue_url="", log_buckets=(), accounts=(), protected=("ml-voice-*",), prefer={}, topics=(), own={}, others={},
        mode="plan", armed=False, responders={}, separate=False, revoking=0, canaries=(),
    )  # fmt: skip
    results = list(encryption(subject, ask))
    assert [one.where for one in results] == ["s3://ml-voice-raw"]
    return results[0]


def rule(algorithm="aws:kms", key=OURS, bucket_key=False):
    default = {"SSEAlgorithm": algorithm} | ({"KMSMasterKeyID": key} if key else {})
    one = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bucket_key}
    return {"ServerSideEncryptionConfiguration": {"Rules": [one]}}


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (rule(), "ok", "customer-managed"),
        (rule("aws:kms:dsse"), "ok", "customer-managed"),
        (rule(bucket_key=True), "warn", "Bucket Keys on"),
        (rule(key=""), "warn", "AWS's managed key"),
        (rule(key="arn:aws:kms:us-east-1:111122223333:alias/aws/s3"), "warn", "AWS's managed key"),
        (rule("AES256", ""), "warn", "S3's own key"),
        ({}, "warn", "S3's own key"),
        (ABSENT, "warn", "S3's own key"),
        (DENIED, "skipped", "may not be looked at"),
    ],
)
def test_each_kind_of_encryption_is_judged(answer, status, told):
    result = judged(answer)
    assert (result.check, result.status) == ("encryption", status)
    assert told in result.what
