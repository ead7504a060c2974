"""CloudTrail's public keys, with which it signs digest files: each region has its own, and they change.

Source: CloudTrail API reference, ListPublicKeys; the value is DER (PKCS #1), which boto3 gives as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from detector.aws.session import client, edge

MOST_PAGES = 1000


def public_keys(region: str, since: int) -> Iterator[tuple[str, bytes]]:
    """Fingerprint and value of every key of a region that was valid from this time (epoch seconds) on, or later.

    Raises EdgeError.
    """
    listing = client("cloudtrail", region=region).get_paginator("list_public_keys")
    with edge("ask for CloudTrail's public keys (cloudtrail:ListPublicKeys)", where=region):
        for page in islice(listing.paginate(StartTime=datetime.fromtimestamp(since, UTC)), MOST_PAGES):
            for key in page.get("PublicKeyList", []):
                yield key["Fingerprint"], key["Value"]
