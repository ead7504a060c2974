"""S3 server access log lines of GET requests: about 728 bytes each, filled into a template. Pure.

Shape: S3 user guide, "Amazon S3 server access log format". All names are invented.
"""

from __future__ import annotations

from base64 import b64encode

import numpy as np

from bench.cloudtrail import AGENT, ALPHABET, BUCKET, HOST, REGION, address, object_keys, session
from bench.traffic import I64, Requests, noise

OWNER = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"


def document(asked: Requests, rows: I64) -> bytes:
    """The file that holds these rows; S3 delivers them as they are."""
    return ("\n".join(lines(asked, rows)) + "\n").encode()


def lines(asked: Requests, rows: I64) -> list[str]:
    """One line a row."""
    numbers = asked.number[rows]
    ids = noise(numbers, 10, salt=1 << 40)
    host_ids = b64encode(np.ascontiguousarray(ids[:, :57]).tobytes()).decode()
    request_ids = ALPHABET[ids[:, 57:73] % 32].tobytes().decode()
    sizes = (40_000 + ids[:, 73:75].copy().view(np.uint16)[:, 0].astype(np.int64) * 9).tolist()
    stamps = _stamps(asked.time[rows])
    everyone = asked.principal[rows].tolist()
    keys = object_keys(numbers)
    return [
        _line(who, at, key, size, host_ids[76 * i : 76 * i + 76], request_ids[16 * i : 16 * i + 16])
        for i, (who, at, key, size) in enumerate(zip(everyone, stamps, keys, sizes, strict=True))
    ]


def _line(who: int, at: str, key: str, size: int, host_id: str, request_id: str) -> str:
    return (
        f"{OWNER} {BUCKET} [{at} +0000] {address(who)} {session(who)} {request_id} REST.GET.OBJECT {key} "
        f'"GET /{key}?x-id=GetObject HTTP/1.1" 200 - {size} {size} {20 + size % 60} {15 + size % 50} "-" "{AGENT}" '
        f"- {host_id} SigV4 TLS_AES_128_GCM_SHA256 AuthHeader {HOST} TLSv1.3 - - {REGION}"
    )


def _stamps(time: I64) -> list[str]:
    """`01/May/2026:00:00:38` for every time; all requests are of one month (the longest run is a few days)."""
    iso = np.datetime_as_string(time.astype("datetime64[s]")).tolist()
    return [f"{text[8:10]}/May/2026:{text[11:]}" for text in iso]
