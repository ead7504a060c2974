"""Objects below one prefix of a bucket, each put as a whole. The twin of `local.files`.

Source: S3 API reference, PutObject, conditional writes (`If-None-Match: *`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.aws.session import client, code_of, edge
from detector.errors import EdgeError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THERE = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class PrefixFiles:
    """A prefix of a bucket as Files. The client is made at the first use. How many there are is for its lifecycle."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self._client: S3Client | None = None

    def put(self, name: str, data: bytes, *, once: bool = False) -> str:
        """Keep these bytes under a name; where they are. Raises EdgeError."""
        if self._client is None:
            self._client = client("s3")
        key = f"{self._prefix}/{name}".lstrip("/")
        where, condition = f"s3://{self._bucket}/{key}", {"IfNoneMatch": "*"} if once else {}
        chosen: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "Body": data} | condition
        try:
            with edge("write an object", where=where):
                self._client.put_object(**chosen)
        except EdgeError as error:
            if not once or code_of(error) not in THERE:
                raise
        return where
