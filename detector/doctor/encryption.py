"""How protected buckets are encrypted, and what that leaves to be seen in the logs. Pure.

Source: S3 User Guide, "Reducing the cost of SSE-KMS with Amazon S3 Bucket Keys": with a bucket key, CloudTrail's KMS
events name the bucket's ARN in the encryption context, not the object's, and there are far fewer of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detector.doctor.result import Ask, Result, unseen
from detector.doctor.subject import Subject, protected_buckets

CHECK = "encryption"
OF_KMS = ("aws:kms", "aws:kms:dsse")
OF_AWS = "alias/aws/s3"


def encryption(subject: Subject, ask: Ask) -> Iterator[Result]:
    """Each protected bucket's default encryption."""
    for bucket in protected_buckets(subject, ask):
        answer = ask("s3:get_bucket_encryption", Bucket=bucket)
        where = f"s3://{bucket}"
        if answer.found is None and answer.why == "denied":
            yield unseen(CHECK, answer, where)
        else:
            rules = answer.seen.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
            yield _judged(next(iter(rules), {}), where)


def _judged(rule: Mapping[str, Any], where: str) -> Result:
    default = rule.get("ApplyServerSideEncryptionByDefault") or {}
    key = str(default.get("KMSMasterKeyID") or OF_AWS)
    if default.get("SSEAlgorithm") not in OF_KMS:
        told = "is encrypted with S3's own key: whoever may read it needs no second right, and no Decrypt tells of it"
        return Result(CHECK, "warn", told, where, "set a customer-managed KMS key as the bucket's default")
    if key.endswith(OF_AWS):
        told = "is encrypted with AWS's managed key, whose policy nobody can tighten"
        return Result(CHECK, "warn", told, where, "set a customer-managed KMS key as the bucket's default")
    if rule.get("BucketKeyEnabled"):
        told = "has S3 Bucket Keys on: KMS Decrypts are few and name the bucket only, bulk-decrypt sees little of reads"
        return Result(CHECK, "warn", told, where, "fine if its reads are logged; do not count on Decrypts")
    return Result(CHECK, "ok", "is encrypted with a customer-managed key; Decrypts tell of its reads", where)
