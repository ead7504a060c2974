"""Reads canaries out of S3. What is read is let go: only the log of it matters.

Source: S3 API reference, GetObject; whoever asks must not be held up, so timeouts are short and attempts few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.aws.session import client, edge

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Probe:
    """Reads one object at a time; the client is made at the first read."""

    def __init__(self) -> None:
        self._client: S3Client | None = None

    def read(self, bucket: str, key: str) -> None:
        """Read an object's first bytes. Raises EdgeError."""
        if self._client is None:
            self._client = client("s3", attempts=2, connect_timeout=2, read_timeout=4)
        with edge("read a canary", where=f"s3://{bucket}/{key}"):
            answer = self._client.get_object(Bucket=bucket, Key=key)
            with answer["Body"] as body:
                body.read(1)
