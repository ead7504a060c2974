"""Bytes of messages that could not be used, one S3 object each, under the name of their hash. The twin of
`local.quarantine`.

Source: S3 API reference, PutObject, conditional writes (`If-None-Match: *`): what is there is never overwritten.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from detector.aws.session import client, code_of, edge
from detector.errors import EdgeError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LARGEST = 1 << 20
"""Bytes that are kept of one: as much as a message may have. How many are kept is for the bucket's lifecycle."""
THERE = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class QuarantinePrefix:
    """A prefix of a bucket as a Quarantine. The client is made at the first use."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self._client: S3Client | None = None

    def put(self, data: bytes) -> str:
        """Keep the first 1 MiB of these bytes; where they are. Raises EdgeError."""
        if self._client is None:
            self._client = client("s3")
        key = f"{self._prefix}/{hashlib.sha256(data).hexdigest()}".lstrip("/")
        where = f"s3://{self._bucket}/{key}"
        try:
            with edge("write the quarantine", where=where):
                self._client.put_object(Bucket=self._bucket, Key=key, Body=data[:LARGEST], IfNoneMatch="*")
        except EdgeError as error:
            if code_of(error) not in THERE:
                raise
        return where
