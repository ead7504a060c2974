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
        key = self._key(name)
        where, condition = f"s3://{self._bucket}/{key}", {"IfNoneMatch": "*"} if once else {}
        chosen: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "Body": data} | condition
        try:
            with edge("write an object", where=where):
                self._s3.put_object(**chosen)
        except EdgeError as error:
            if not once or code_of(error) not in THERE:
                raise
        return where

    def names(self, below: str = "") -> list[str]:
        """The names that begin so, sorted; `below` ends with a slash. Raises EdgeError."""
        root, prefix = self._key(""), self._key(below)
        with edge("list objects", where=f"s3://{self._bucket}/{prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return sorted(one["Key"].removeprefix(root) for page in pages for one in page.get("Contents", []))

    def get(self, name: str, most: int) -> bytes:
        """The bytes under a name, the first `most` of them. Raises EdgeError."""
        with edge("read an object", where=f"s3://{self._bucket}/{self._key(name)}"):
            return self._s3.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read(most)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")

    @property
    def _s3(self) -> S3Client:
        if self._client is None:
            self._client = client("s3")
        return self._client
