"""Hand-made CloudTrail records in the shapes AWS delivers them. All names and addresses are invented."""

from __future__ import annotations

import json
from typing import Any

from detector.core.access import NUMBER_COLUMNS, TEXT_COLUMNS, Log, Operation, Outcome, Row, Skip

Json = dict[str, Any]
ACCOUNT = "111122223333"
NINE = 1_777_626_000  # 2026-05-01T09:00:00Z
ROLE_ID = "AROAEXAMPLEROLEID0001"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/vendors/ContractorDataReader"
SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/ContractorDataReader/contractor-42"
USER_ARN = f"arn:aws:iam::{ACCOUNT}:user/labs/dana"
KMS_KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0b8e"


def assumed_role(**changes: Any) -> Json:
    """The identity of a role session."""
    issuer = {"type": "Role", "principalId": ROLE_ID, "arn": ROLE_ARN, "accountId": ACCOUNT}
    return {
        "type": "AssumedRole",
        "principalId": f"{ROLE_ID}:contractor-42",
        "arn": SESSION_ARN,
        "accountId": ACCOUNT,
        "accessKeyId": "ASIAEXAMPLEKEY000001",
        "sessionContext": {
            "sessionIssuer": issuer,
            "webIdFederationData": {},
            "attributes": {"creationDate": "2026-05-01T09:00:00Z", "mfaAuthenticated": "false"},
        },
    } | changes


def iam_user(**changes: Any) -> Json:
    """The identity of an IAM user with a long-lived key."""
    return {
        "type": "IAMUser",
        "principalId": "AIDAEXAMPLEUSERID0001",
        "arn": USER_ARN,
        "accountId": ACCOUNT,
        "accessKeyId": "AKIAEXAMPLEKEY000001",
        "userName": "dana",
    } | changes


def record(api: str = "GetObject", **changes: Any) -> Json:
    """A record of an S3 API call on `ml-voice/raw/a.wav`; a change to `None` is a null, to `...` a missing field."""
    made = {
        "eventVersion": "1.11",
        "userIdentity": assumed_role(),
        "eventTime": "2026-05-01T09:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": api,
        "awsRegion": "us-east-1",
        "sourceIPAddress": "198.51.100.7",
        "userAgent": "[aws-cli/2.15]",
        "requestParameters": {"bucketName": "ml-voice", "Host": "ml-voice.s3.amazonaws.com", "key": "raw/a.wav"},
        "responseElements": None,
        "additionalEventData": {
            "AuthenticationMethod": "AuthHeader",
            "x-amz-id-2": "id2-of-the-request",
            "bytesTransferredOut": 4096.0,
        },
        "requestID": "3E57427F3EXAMPLE",
        "eventID": "7f1c0000-0000-4000-8000-000000000001",
        "resources": [
            {"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::ml-voice/raw/a.wav"},
            {"accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::ml-voice"},
        ],
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Data",
        "tlsDetails": {"tlsVersion": "TLSv1.3", "clientProvidedHostHeader": "ml-voice.s3.amazonaws.com"},
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def numbered(count: int) -> list[Json]:
    """Records that differ in event id, second and key."""
    return [
        record(
            eventID=f"e-{i}",
            eventTime=f"2026-05-01T09:{i // 60:02d}:{i % 60:02d}Z",
            resources=[{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::ml-voice/raw/{i}.wav"}],
        )
        for i in range(count)
    ]


def copy_object(source: str | None, **changes: Any) -> Json:
    """A CopyObject from `source` (the header as sent) to `stolen/new.wav`."""
    parameters = {"bucketName": "stolen", "key": "new.wav", "x-amz-copy-source": source}
    resources = [
        {"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::stolen/new.wav"},
        {"accountId": "444455556666", "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::stolen"},
    ]
    given = {name: value for name, value in parameters.items() if value is not None}
    return record("CopyObject", requestParameters=given, resources=resources, **changes)


def kms_decrypt(context: Any) -> Json:
    """A KMS Decrypt with this encryption context."""
    return record(
        "Decrypt",
        eventSource="kms.amazonaws.com",
        requestParameters={"encryptionContext": context, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        additionalEventData=...,
        resources=[{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": KMS_KEY}],
        eventCategory="Management",
    )


def aggregated(event_id: str = "a-1") -> Json:
    """A five-minute summary: no identity, no event time, and its id spelled otherwise."""
    return {
        "eventId": event_id,
        "accountId": ACCOUNT,
        "eventCategory": "Aggregated",
        "eventType": "AwsAggregatedEvent",
        "timeWindow": {"windowStart": "2026-05-01T09:00:00Z", "windowSize": "PT5M"},
        "summary": {"primaryDimension": {"dimension": "resource", "statistics": [{"name": "x", "value": 5}]}},
    }


def insight(event_id: str, state: str) -> Json:
    """One end of an insight: both ends share one id."""
    return {
        "eventVersion": "1.07",
        "eventTime": "2026-05-01T09:00:00Z",
        "awsRegion": "us-east-1",
        "eventID": event_id,
        "sharedEventID": "both-ends",
        "eventType": "AwsCloudTrailInsight",
        "eventCategory": "Insight",
        "insightDetails": {"state": state, "eventSource": "s3.amazonaws.com", "eventName": "GetObject"},
    }


def file_of(records: list[Any]) -> bytes:
    """A log file as a trail delivers it, inflated."""
    return json.dumps({"Records": records}, separators=(",", ":")).encode()


def eventbridge(detail: Json) -> Json:
    """A record as EventBridge delivers it."""
    kind = "AWS API Call via CloudTrail"
    return {"version": "0", "id": "outer", "detail-type": kind, "source": "aws.s3", "resources": [], "detail": detail}


def log_events(records: list[Json], kind: str = "DATA_MESSAGE") -> Json:
    """Records as a CloudWatch Logs subscription delivers them."""
    events = [{"id": str(n), "timestamp": 1, "message": json.dumps(one)} for n, one in enumerate(records)]
    group = {"logGroup": "CloudTrail/ml", "subscriptionFilters": ["detector"]}
    return {"messageType": kind, "owner": ACCOUNT, **group, "logEvents": events}


def taken(into):
    """What a builder holds, as rows and rejects; it is empty afterwards."""
    batch = into.build()
    return rows_of(batch), batch.rejects


def rows_of(batch):
    """A batch turned back into rows."""
    return [
        Row(
            Log(batch.log[at]), int(batch.time[at]), int(batch.id[at]), batch.partition.text(at), Skip(batch.skip[at]),
            int(batch.link[at]), Operation(batch.operation[at]), Outcome(batch.outcome[at]), int(batch.bytes[at]),
            batch.principals[batch.who[at]] if batch.who[at] >= 0 else None, bool(batch.has_arn[at]),
            *(batch.text[name].text(at) for name in TEXT_COLUMNS), *(int(batch.number[n][at]) for n in NUMBER_COLUMNS),
        )
        for at in range(len(batch))
    ]  # fmt: skip
