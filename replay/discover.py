"""What `init` finds in AWS: trails and access logs, where they lie, and who is told of new files. Pure: asks, judges.

Nothing is changed, and what may not be looked at is said (`Surroundings.unseen`).

Source: CloudTrail User Guide, "Finding your CloudTrail log files"; S3 User Guide, "Amazon S3 server access log format"
(log object keys, simple and partitioned); S3 API reference, GetBucketLogging, GetBucketNotificationConfiguration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from detector.doctor.logs import files_below, regions
from detector.doctor.result import Answer, Ask
from detector.doctor.selectors import OBJECTS, Selectors

DAY = 86_400
FOLDERS = 20_000
"""Folders that are looked into for accounts and regions."""
LISTED = 20_000
"""Files of one folder and day that are listed at most (`aws.look`)."""


class Logs(NamedTuple):
    """Where files of one day lie: below these prefixes once the date is put in (strftime)."""

    kind: str
    bucket: str
    prefixes: tuple[str, ...]


class Listed(NamedTuple):
    """A log file. day: epoch days."""

    day: int
    bucket: str
    key: str
    size: int


@dataclass
class Surroundings:
    """What was found. trails: those that log reads of objects. queues: log bucket → URL of the queue that is told."""

    trails: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    logs: list[Logs] = field(default_factory=list)
    queues: dict[str, str] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)


def discover(ask: Ask) -> Surroundings:
    """Trails that log reads, else access logs; and queues of their buckets."""
    found = Surroundings()
    for bucket, prefix in _of_trails(ask, found):
        where = f"s3://{bucket}/{prefix}"
        _seen(ask("s3:list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=1000), where, found)
        folders, whole = regions(bucket, ask, prefix, FOLDERS)
        if not whole:
            found.unseen.append(f"{where}: too many folders: not all of them were looked into")
        found.logs.append(Logs("cloudtrail", bucket, tuple(f"{_plain(folder)}%Y/%m/%d/" for folder in folders)))
    if not found.logs:
        found.logs += _of_access_logs(ask, found)
    for bucket in sorted({logs.bucket for logs in found.logs}):
        if url := _queue(bucket, ask, found):
            found.queues[bucket] = url
    return found


def history_of(found: Surroundings, ask: Ask, now: float, days: int, most: int) -> tuple[list[Listed], int]:
    """The log files of the last so many whole days, newest day first, as far as they have no more than `most` bytes
    together; and the bytes of the day that did not fit (0: all did).

    Only whole days: one cut short would teach too low a peak.
    """
    today, size = int(now) // DAY, 0
    chosen: dict[Listed, None] = {}
    for day in range(today - 1, today - 1 - days, -1):
        of_day = dict.fromkeys(_of_day(found, ask, day))
        size += sum(one.size for one in of_day)
        if size > most:
            return list(chosen), sum(one.size for one in of_day)
        chosen |= of_day
    return list(chosen), 0


def _of_day(found: Surroundings, ask: Ask, day: int) -> Iterator[Listed]:
    date = datetime.fromtimestamp(day * DAY, UTC)
    for logs in found.logs:
        for prefix in logs.prefixes:
            folder = date.strftime(prefix)
            where = f"s3://{logs.bucket}/{folder}"
            _seen(ask("s3:list_objects_v2", Bucket=logs.bucket, Prefix=folder), where, found)
            files = files_below(logs.bucket, folder, ask)
            if len(files) >= LISTED:
                found.unseen.append(f"{where}: only its first {LISTED:,} files were listed")
            yield from (Listed(day, logs.bucket, str(f["Key"]), int(f.get("Size", 0))) for f in files)


def _of_trails(ask: Ask, found: Surroundings) -> Iterator[tuple[str, str]]:
    """Log bucket and prefix of every trail that logs reads of objects."""
    answer = _seen(ask("cloudtrail:describe_trails", includeShadowTrails=True), "trails", found)
    places: set[tuple[str, str]] = set()
    for trail in answer.get("trailList", ()):
        arn, home = str(trail.get("TrailARN", "")), trail.get("HomeRegion")
        selected = _seen(ask("cloudtrail:get_event_selectors", region=home, TrailName=arn), arn, found)
        status = _seen(ask("cloudtrail:get_trail_status", region=home, Name=arn), arn, found)
        logs_reads = OBJECTS in Selectors.of(selected).kinds() and status.get("IsLogging", True)
        (found.trails if logs_reads else found.others).append(arn)
        if logs_reads and trail.get("S3BucketName"):
            prefix = str(trail.get("S3KeyPrefix") or "").strip("/")
            places.add((str(trail["S3BucketName"]), f"{prefix}/AWSLogs/" if prefix else "AWSLogs/"))
    yield from sorted(places)


def _of_access_logs(ask: Ask, found: Surroundings) -> Iterator[Logs]:
    """Where the buckets of this account have their access logs put."""
    targets: dict[str, set[str]] = {}
    buckets = _seen(ask("s3:list_buckets"), "buckets", found)
    for bucket in (str(one["Name"]) for one in buckets.get("Buckets", ())):
        logging = _seen(ask("s3:get_bucket_logging", Bucket=bucket), f"s3://{bucket}", found).get("LoggingEnabled")
        if logging:
            prefixes = _access_log_prefixes(logging, bucket, ask, found)
            targets.setdefault(str(logging["TargetBucket"]), set()).update(prefixes)
    for target, of_target in sorted(targets.items()):
        yield Logs("access logs", target, tuple(sorted(of_target)))


def _access_log_prefixes(logging: dict[str, Any], bucket: str, ask: Ask, found: Surroundings) -> list[str]:
    begin, target = str(logging.get("TargetPrefix", "")), str(logging["TargetBucket"])
    if "PartitionedPrefix" not in (logging.get("TargetObjectKeyFormat") or {}):
        return [_plain(begin) + "%Y-%m-%d-"]
    accounts = _folders(target, begin, ask, found)
    of_accounts = [region for account in accounts for region in _folders(target, account, ask, found)]
    return [f"{_plain(region)}{_plain(bucket)}/%Y/%m/%d/" for region in of_accounts]


def _folders(bucket: str, prefix: str, ask: Ask, found: Surroundings) -> list[str]:
    where = f"s3://{bucket}/{prefix}"
    seen = _seen(ask("s3:list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=1000), where, found)
    if seen.get("IsTruncated"):
        found.unseen.append(f"{where}: more than 1,000 folders: not all of them were looked into")
    return [str(one["Prefix"]) for one in seen.get("CommonPrefixes", ())]


def _queue(bucket: str, ask: Ask, found: Surroundings) -> str:
    """URL of the queue that is told of new objects of a bucket, directly; empty if none is."""
    where = f"s3://{bucket}"
    answer = _seen(ask("s3:get_bucket_notification_configuration", Bucket=bucket), where, found)
    for one in answer.get("QueueConfigurations", ()):
        if not any(str(event).startswith("s3:ObjectCreated:") for event in one.get("Events", ())):
            continue
        _, _, _, region, account, name = str(one["QueueArn"]).split(":", 5)
        url = _seen(
            ask("sqs:get_queue_url", region=region, QueueName=name, QueueOwnerAWSAccountId=account), name, found
        )
        if url.get("QueueUrl"):
            return str(url["QueueUrl"])
    return ""


def _seen(answer: Answer, where: str, found: Surroundings) -> Any:
    if answer.found is None and answer.why != "absent":
        needed = f": allow {answer.action}" if answer.why == "denied" else ""
        found.unseen.append(f"{where}: {answer.told}{needed}")
    return answer.seen


def _plain(text: str) -> str:
    """As part of a pattern for a date: what others named means itself."""
    return text.replace("%", "%%")
