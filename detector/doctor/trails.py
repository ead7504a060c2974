"""The trails: whether they log, deliver, and name what is protected, and nothing of the detector's own. Pure.

Source: CloudTrail API reference, DescribeTrails, GetTrailStatus, GetEventSelectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detector.doctor.result import Answer, Ask, Result, unseen
from detector.doctor.selectors import OTHER_WAYS, Selectors
from detector.doctor.subject import Subject, bucket_names, names_of, protected_buckets

CHECK = "trails"
LATE = 3_600
"""Seconds after which a trail that logs management events of an account in use should have delivered something."""
EXCLUDE = "exclude it in the trail's selector: resources.ARN NotStartsWith arn:{partition}:s3:::{bucket}/"
NAME_IT = "add a selector: resources.type AWS::S3::Object, resources.ARN StartsWith arn:{partition}:s3:::{bucket}/"


@dataclass(frozen=True, slots=True)
class Trail:
    """A trail with what could be learnt of it. selectors: None where they may not be looked at."""

    described: Mapping[str, Any]
    status: Answer
    selected: Answer

    @property
    def arn(self) -> str:
        return str(self.described.get("TrailARN", ""))

    @property
    def bucket(self) -> str:
        return str(self.described.get("S3BucketName", ""))

    @property
    def logging(self) -> bool:
        """Whether it logs, as far as is known."""
        return bool(self.status.seen.get("IsLogging", self.status.found is None))

    @property
    def selectors(self) -> Selectors:
        return Selectors.of(self.selected.seen)


def trails_of(subject: Subject, ask: Ask) -> tuple[Answer, tuple[Trail, ...]]:
    """The trails this account sees that deliver to a log bucket that is read, asked about in their home regions."""
    answer = ask("cloudtrail:describe_trails", includeShadowTrails=True)
    found = []
    for one in answer.seen.get("trailList", ()):
        if one.get("S3BucketName") not in subject.log_buckets:
            continue
        arn, home = str(one.get("TrailARN", "")), one.get("HomeRegion")
        status = ask("cloudtrail:get_trail_status", region=home, Name=arn)
        found.append(Trail(one, status, ask("cloudtrail:get_event_selectors", region=home, TrailName=arn)))
    return answer, tuple(found)


def trails(subject: Subject, ask: Ask, now: float) -> Iterator[Result]:
    """Every trail that delivers to a log bucket that is read."""
    answer, delivering = trails_of(subject, ask)
    if answer.found is None:
        yield unseen(CHECK, answer, "")
        return
    if not delivering:
        yield Result(
            CHECK, "warn", "no trail that this account and region see delivers to a log bucket that is read",
            ", ".join(subject.log_buckets),
            "if the trail is another account's (an organisation's), run doctor there, too; else deploy new-trail.yaml",
        )  # fmt: skip
    for trail in delivering:
        results = [*health(trail, now), *what_it_logs(trail)]
        yield from results
        if all(one.status == "ok" for one in results):
            yield Result(CHECK, "ok", "logs, delivers, and can be validated", trail.arn)


def health(trail: Trail, now: float) -> Iterator[Result]:
    """Whether a trail is on and what it says of its deliveries."""
    where, status = trail.arn, trail.status
    if status.found is None:
        yield unseen(CHECK, status, where)
        return
    if not trail.logging:
        yield Result(CHECK, "problem", "it is switched off: nothing is seen", where, "aws cloudtrail start-logging")
    for name, what in ERRORS.items():
        if status.seen.get(name):
            yield Result(CHECK, "problem", f"{what}: {status.seen[name]}", where, "mend that one's policy")
    delivered = status.seen.get("LatestDeliveryTime")
    if delivered is not None and trail.logging and now - delivered.timestamp() > LATE:
        hours = (now - delivered.timestamp()) / 3600
        yield Result(CHECK, "warn", f"its last file was delivered {hours:.1f} hours ago", where, "see if it is idle")
    if not trail.described.get("LogFileValidationEnabled"):
        told = "log file validation is off: an edited or deleted log would not show"
        yield Result(CHECK, "warn", told, where, "aws cloudtrail update-trail --enable-log-file-validation")
    if not trail.described.get("IsMultiRegionTrail"):
        told = f"it is of {trail.described.get('HomeRegion')} alone: calls in other regions are not logged"
        yield Result(CHECK, "warn", told, where, "aws cloudtrail update-trail --is-multi-region-trail")


ERRORS = {
    "LatestDeliveryError": "its last delivery failed",
    "LatestNotificationError": "its last notification failed",
    "LatestDigestDeliveryError": "its last digest could not be delivered",
}


def what_it_logs(trail: Trail) -> Iterator[Result]:
    """Management events, and the other ways to objects."""
    if trail.selected.found is None:
        yield unseen(CHECK, trail.selected, trail.arn)
        return
    if not trail.selectors.management():
        told = "management events are not logged: who switches logs off, or opens a bucket, is not seen"
        yield Result(CHECK, "warn", told, trail.arn, "log management events (write) in this trail or another one here")
    missing = [what for kind, what in OTHER_WAYS.items() if kind not in trail.selectors.kinds()]
    if missing:
        told = f"not logged: {', '.join(missing)}"
        yield Result(CHECK, "warn", told, trail.arn, "add their resource types, or see that nobody uses these ways")


def coverage(subject: Subject, ask: Ask, partition: str) -> Iterator[Result]:
    """Whether the reads of each protected bucket reach a log that is read."""
    answer, every = trails_of(subject, ask)
    delivering = [t for t in every if t.logging and t.selected.found is not None]
    if answer.found is None or not delivering:
        return  # `trails` says why
    existing = ask("s3:list_buckets")
    known = bucket_names(existing)
    for pattern in subject.protected:
        names = names_of(pattern, known)
        if not names and existing.found is None:
            yield unseen("coverage", existing, pattern)
        elif not names:
            told = "no bucket of this account has such a name"
            yield Result("coverage", "warn", told, pattern, "check protected_buckets (another account's?)")
        for bucket in names:
            yield from covered(bucket, delivering, partition)


def covered(bucket: str, delivering: Sequence[Trail], partition: str) -> Iterator[Result]:
    """Whether and how often the reads of one bucket are logged."""
    extents = {trail.arn: trail.selectors.reads_of(bucket, partition) for trail in delivering}
    logging = sorted(arn for arn, extent in extents.items() if extent != "none")
    remedy = NAME_IT.format(partition=partition, bucket=bucket)
    if not logging:
        yield Result("coverage", "problem", "reads of this protected bucket are in no log", f"s3://{bucket}", remedy)
    elif "all" not in extents.values():
        told = f"only part of the reads is logged: {', '.join(logging)} leaves out calls, keys or callers"
        yield Result("coverage", "warn", told, f"s3://{bucket}", remedy)
    else:
        yield Result("coverage", "ok", "reads of its objects are logged", f"s3://{bucket}")
    if len(logging) > 1:
        yield Result(
            "double-trails", "warn", f"{len(logging)} trails log the same reads: each is paid for, and read twice",
            f"s3://{bucket}", f"take the bucket out of all but one of {', '.join(logging)}",
        )  # fmt: skip


def loops(subject: Subject, ask: Ask, partition: str) -> Iterator[Result]:
    """Trails that log the detector's own reads and writes: these make new log files, which it reads, and so on."""
    answer, every = trails_of(subject, ask)
    ours = dict.fromkeys(subject.log_buckets, "log bucket")
    ours |= {place.bucket: f"bucket of the {what}" for what, place in {**subject.own, **subject.others}.items()}
    found = False
    for trail in every:
        if trail.selected.found is None:
            continue
        for bucket, what in sorted(ours.items()):
            if trail.selectors.reads_of(bucket, partition) == "none":
                continue
            found = True
            told = (
                f"the trail logs the detector's own work in the {what}: each file read makes new events, which cost, "
            )
            told += "and the source is never silent"
            remedy = EXCLUDE.format(partition=partition, bucket=bucket)
            yield Result("loops", "problem", f"{told} ({trail.arn})", f"s3://{bucket}", remedy)
    if answer.found is not None and not found and any(t.selected.found is not None for t in every):
        yield Result("loops", "ok", "no trail logs the detector's own reads and writes")


def two_logs(subject: Subject, ask: Ask, partition: str) -> Iterator[Result]:
    """Buckets of which both CloudTrail and an access log are read: each request then counts twice."""
    _, delivering = trails_of(subject, ask)
    for bucket in protected_buckets(subject, ask):
        answer = ask("s3:get_bucket_logging", Bucket=bucket)
        if answer.found is None:
            yield unseen(
                "two-logs", answer, f"s3://{bucket}", absent="there is no such bucket", remedy="check the name"
            )
            continue
        target = str((answer.seen.get("LoggingEnabled") or {}).get("TargetBucket", ""))
        both = target in subject.log_buckets and any(
            t.selectors.reads_of(bucket, partition) != "none" for t in delivering
        )
        if both and not subject.prefers(bucket):
            told = "both CloudTrail and its access log are read: each request counts twice, under two identities"
            remedy = f'say which counts: prefer: {{"{bucket}": cloudtrail}}'
            yield Result("two-logs", "warn", told, f"s3://{bucket}", remedy)
