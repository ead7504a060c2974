"""Log files in S3 by the names that the daemon shows. The twin of `local.named`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detector.aws.objects import S3Objects
from detector.aws.session import client, edge
from detector.errors import EdgeError
from detector.logs.envelope import Accept
from detector.source import Notice

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST = 6_000
"""Names of a folder, at most."""


class NamedLogs:
    """accept: the buckets and accounts whose logs may be read."""

    def __init__(self, accept: Accept) -> None:
        self._accept, self._objects = accept, S3Objects()
        self._client: S3Client | None = None

    def fetch(self, name: str) -> bytes:
        """A log file's bytes. Raises EdgeError."""
        bucket, key = self._place(name)
        return self._objects.fetch(bucket, key)

    def beside(self, names: Sequence[str]) -> list[str]:
        """These files, and in each of their folders those from the first of them on. Raises EdgeError.

        CloudTrail puts the time into its keys: what comes after in a folder came later, or about then.
        """
        first: dict[tuple[str, str], str] = {}
        for name in names:
            bucket, key = self._place(name)
            folder = key[: key.rfind("/") + 1]
            first[bucket, folder] = min(first.get((bucket, folder), key), key)
        found = set(names)
        for (bucket, folder), key in first.items():
            found.update(f"s3://{bucket}/{one}" for one in self._listed(bucket, folder, key))
        return sorted(found)

    def _listed(self, bucket: str, folder: str, first: str) -> list[str]:
        self._client = self._client or client("s3")
        with edge("list log files", where=f"s3://{bucket}/{folder}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=folder, Delimiter="/", StartAfter=first, PaginationConfig={"MaxItems": MOST}
            )
            return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def _place(self, name: str) -> tuple[str, str]:
        bucket, _, key = name.removeprefix("s3://").partition("/")
        refused = self._accept.refusal(Notice(name, bucket=bucket, key=key))
        if refused or not key or not name.startswith("s3://"):
            raise EdgeError(f"no log file that may be read: {refused}", where=name, remedy="see accept in the config")
        return bucket, key
