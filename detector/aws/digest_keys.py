"""CloudTrail's public keys, with which it signs digest files: each region has its own, and they change.

Source: CloudTrail API reference, ListPublicKeys; the value is DER (PKCS #1), which boto3 gives as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from detector.aws.session import client, edge

MOST_PAGES = 1000


def public_keys(region: str, since: int) -> Iterator[tuple[str, bytes]]:
    """Fingerprint and value of every key of a region that was valid from this time (epoch seconds) on, or later.

    Raises EdgeError.
    """
    cloudtrail = client("cloudtrail", region=region)
    token: dict[str, str] = {}
    with edge("ask for CloudTrail's public keys (cloudtrail:ListPublicKeys)", where=region):
        for _ in range(MOST_PAGES):
            page = cloudtrail.list_public_keys(StartTime=datetime.fromtimestamp(since, UTC), **token)
            for key in page.get("PublicKeyList", []):
                yield key["Fingerprint"], key["Value"]
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}
