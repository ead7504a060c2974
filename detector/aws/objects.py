"""Log files out of S3.

A body breaks off while it is read, after botocore's own retries have ended: the whole get is tried again here.
It is not used as a context: as such it is the bare stream, which raises urllib3's errors and checks no checksum.
Source: botocore `StreamingBody`; S3 API reference, GetObject.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, Any

from detector.aws.session import client, edge
from detector.errors import EdgeError
from detector.response.plain import printable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 3
CHUNK = 1 << 20
LARGEST = 256 * 2**20
"""Bytes of one log file. CloudTrail writes at most 50 MB; what is larger is no log, and memory is not for it."""


class S3Objects:
    """Fetches stored objects whole. One client, made at the first fetch, shared by all threads."""

    def __init__(
        self, *, region: str | None = None, largest: int = LARGEST, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._region, self._largest, self._sleep = region, largest, sleep
        self._client: S3Client | None = None
        self._making = Lock()

    def fetch(self, bucket: str, key: str, version: str = "") -> bytes:
        """The object's bytes as they are stored.

        version: an S3 version id, which is then the one read (it needs s3:GetObjectVersion); an ETag, told by its
        quotes, names what was announced but is not insisted on: a log written anew is still the log. Raises EdgeError.
        """
        where = f"s3://{bucket}/{key}"
        for attempt in range(1, ATTEMPTS):
            try:
                return self._read(where, bucket, key, version)
            except EdgeError as error:
                if not error.retryable:
                    raise
                self._sleep(0.2 * 2**attempt)
        return self._read(where, bucket, key, version)

    def metadata(self, bucket: str, key: str) -> dict[str, str]:
        """The object's user metadata. Raises EdgeError."""
        with edge("look at a log file", where=f"s3://{bucket}/{key}"):
            return dict(self._made().head_object(Bucket=bucket, Key=key)["Metadata"])

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _read(self, where: str, bucket: str, key: str, version: str) -> bytes:
        s3 = self._made()
        chosen: dict[str, Any] = {"VersionId": version} if version and not version.startswith('"') else {}
        with edge("read a log file", where=where):
            answer = s3.get_object(Bucket=bucket, Key=key, **chosen)
            self._bounded(answer["ContentLength"], where)
            with closing(answer["Body"]) as body:
                return b"".join(self._chunks(body, where))

    def _made(self) -> S3Client:
        with self._making:
            if self._client is None:
                self._client = client("s3", region=self._region, attempts=1, read_timeout=10)
            return self._client

    def _chunks(self, body: Any, where: str) -> list[bytes]:
        """Read to the end. The declared length is not trusted: a wrong one must not fill the memory."""
        chunks, size = [], 0
        while chunk := body.read(CHUNK):
            size += len(chunk)
            self._bounded(size, where)
            chunks.append(chunk)
        return chunks

    def _bounded(self, size: int, where: str) -> None:
        if size > self._largest:
            raise EdgeError(
                f"the object has more than {self._largest:,} bytes: no log file is that large",
                where=printable(where),
                remedy="keep other objects out of the log bucket, or split the file",
            )
