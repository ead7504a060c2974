"""The log files: whether they can be listed and read, how much comes in a day, and what that costs. Pure.

A day's files are told by the names CloudTrail gives them: `AWSLogs/[o-…/]<account>/CloudTrail/<region>/YYYY/MM/DD/`.

Source: CloudTrail User Guide, "Finding your CloudTrail log files".
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from detector.doctor.cost import Day, told_cost
from detector.doctor.result import Ask, Result, unseen
from detector.doctor.subject import Subject

CHECK = "logs"
FOLDERS = 200
"""Folders that are looked into at most."""
DAY = 86_400
LARGEST = 512 << 20
"""Bytes a log file may inflate to."""
DATED = re.compile(r"/CloudTrail/[a-z0-9-]+/$")
PASSED_OVER = re.compile(r"/CloudTrail-(Digest|Insight|Aggregated)")


@dataclass(frozen=True, slots=True)
class Listed:
    """A day's log files. sample: key of the newest."""

    files: int
    size: int
    sample: str


def logs(subject: Subject, ask: Ask, now: float) -> Iterator[Result]:
    """Each log bucket: list yesterday's and today's files, read the newest one, and say what a day costs."""
    days: list[Day] = []
    for bucket in subject.log_buckets:
        where = f"s3://{bucket}"
        first = ask("s3:list_objects_v2", Bucket=bucket, MaxKeys=1)
        if first.found is None:
            yield unseen(CHECK, first, where, absent="there is no such bucket", remedy="check accept.buckets")
            continue
        listed = _day(bucket, ask, now)
        sample = (listed and listed.sample) or next((str(o["Key"]) for o in first.seen.get("Contents", ())), "")
        if not sample:
            yield Result(CHECK, "warn", "the log bucket is empty", where, "see that a log is delivered to it")
            continue
        read = ask("s3:get_object", Bucket=bucket, Key=sample)
        if read.found is None:
            remedy = "the key's policy must allow kms:Decrypt too, if the logs are encrypted"
            result = unseen(CHECK, read, f"{where}/{sample}", absent="the newest log file is gone", remedy=remedy)
            yield result if result.status != "skipped" else Result(
                CHECK, "skipped", result.what, result.where, f"{result.remedy}; {remedy}"
            )  # fmt: skip
            continue
        body = read.seen.get("Body", b"")
        yield Result(CHECK, "ok", f"can be listed and read ({len(body):,} bytes)", f"{where}/{sample}")
        if listed is not None:
            records = records_in(body)
            days.append(Day(bucket, listed.files, listed.size, len(body), records))
        else:
            told = "no CloudTrail files of yesterday or today were found by their names"
            yield Result(CHECK, "warn", told, where, "fine for access logs; else see that the trail delivers here")
    yield from told_cost(days)


def _day(bucket: str, ask: Ask, now: float) -> Listed | None:
    """The files of yesterday, or of today where there are none; None if no folder of CloudTrail has any."""
    folders, _ = regions(bucket, ask)
    for back in (DAY, 0):
        date = datetime.fromtimestamp(now - back, UTC).strftime("%Y/%m/%d/")
        files = [one for folder in folders for one in files_below(bucket, folder + date, ask)]
        if files:
            newest = max(files, key=lambda one: str(one["Key"]).rpartition("/")[2])
            return Listed(len(files), sum(int(one.get("Size", 0)) for one in files), str(newest["Key"]))
    return None


def regions(bucket: str, ask: Ask, start: str = "", most: int = FOLDERS) -> tuple[list[str], bool]:
    """Folders in which CloudTrail's days lie, wherever below `start`; and whether all were looked into: so many are."""
    waiting, found, looked, whole = [start], [], 0, True
    while waiting and looked < most:
        prefix = waiting.pop(0)
        looked += 1
        answer = ask("s3:list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=1000)
        whole &= not answer.seen.get("IsTruncated")
        for one in answer.seen.get("CommonPrefixes", ()):
            folder = str(one["Prefix"])
            if DATED.search(folder):
                found.append(folder)
            elif not PASSED_OVER.search(f"/{folder}") and folder.count("/") < 8:
                waiting.append(folder)
    return found, whole and not waiting


def files_below(bucket: str, prefix: str, ask: Ask) -> list[Mapping[str, Any]]:
    """What is listed below a prefix: objects with `Key` and `Size`."""
    return list(ask("s3:list_objects_v2", Bucket=bucket, Prefix=prefix).seen.get("Contents", ()))


def records_in(body: bytes) -> int:
    """Records in a CloudTrail file; 0 if it is none."""
    try:
        inflater = zlib.decompressobj(wbits=31)
        text = inflater.decompress(body, LARGEST) if body[:2] == b"\x1f\x8b" else body
        document = json.loads(text)
    except (ValueError, zlib.error, RecursionError):
        return 0
    found = document.get("Records") if isinstance(document, dict) else None
    return len(found) if isinstance(found, list) else 0
