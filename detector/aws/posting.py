"""Sends records to the daemon's own queue, packed as CloudWatch Logs packs them: for drills.

Source: CloudWatch Logs user guide, "Subscription filters"; SQS API reference, SendMessage (256 KiB a message).
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from detector.aws.queue import region_of
from detector.aws.session import client, edge

MESSAGE_RECORDS = 500
"""Records of a message: about 100 KiB packed, well within what SQS takes."""


def post(queue_url: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Send the records, some hundred a message. Raises EdgeError."""
    sqs = client("sqs", region=region_of(queue_url))
    for first in range(0, len(records), MESSAGE_RECORDS):
        body = packed(records[first : first + MESSAGE_RECORDS])
        with edge("send a drill's records", where=queue_url):
            sqs.send_message(QueueUrl=queue_url, MessageBody=body)


def packed(records: Sequence[Mapping[str, Any]]) -> str:
    """The message that a subscription filter would send of these records."""
    events = [{"id": str(number), "message": json.dumps(record)} for number, record in enumerate(records)]
    document = {"messageType": "DATA_MESSAGE", "logGroup": "bucketwatch-drill", "logEvents": events}
    return base64.b64encode(gzip.compress(json.dumps(document).encode())).decode()
