"""Who asks, through which endpoints, and with which clock. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from detector.doctor.result import Answer, Ask, Result

AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn")
SLOW, WRONG = 30, 240
"""Seconds a clock may be off before event times are judged wrongly; before AWS refuses signatures (5 minutes)."""


def identity(ask: Ask) -> Result:
    """Who the doctor is to AWS. Without that nothing else can be asked."""
    answer = ask("sts:get_caller_identity")
    if answer.found is None:
        remedy = "give this process credentials and a region (AWS_PROFILE, AWS_REGION), or a task role"
        return Result("identity", "problem", f"AWS does not know who asks: {answer.told}", "", remedy)
    return Result("identity", "ok", f"asking as {answer.seen.get('Arn', '')}", str(answer.seen.get("Account", "")))


def clock(answer: Answer, now: float) -> Result:
    """This machine's clock against the date of an answer of AWS."""
    headers = answer.seen.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        theirs = parsedate_to_datetime(headers["date"])
    except (KeyError, TypeError, ValueError):
        return Result("clock", "skipped", "the answer of AWS had no date to compare with")
    off = now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)).timestamp()
    if abs(off) < SLOW:
        return Result("clock", "ok", f"within {abs(off):.0f} s of AWS's")
    told = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} AWS's ({_utc(now)} here)"
    remedy = "set it by NTP: event time, plans' ages and canaries are judged by it, and AWS refuses wrong signatures"
    return Result("clock", "warn" if abs(off) < WRONG else "problem", told, "", remedy)


def endpoints(urls: Mapping[str, str], variables: Mapping[str, str]) -> Iterator[Result]:
    """Where calls go. A host that is not AWS's sees every call, and can hide logs and swallow revocations."""
    strange = {service: url for service, url in sorted(urls.items()) if not _of_aws(url)}
    for service, url in strange.items():
        yield Result(
            "endpoints", "warn", f"calls of {service} do not go to AWS", url,
            "if this is no test: unset AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_<SERVICE>, and look for endpoint_url in "
            "the AWS config file",
        )  # fmt: skip
    for name, url in sorted(variables.items()):
        yield Result(
            "endpoints", "warn", f"{name} redirects calls", url,
            "unset it, unless it is a VPC endpoint or a test",
        )  # fmt: skip
    if not strange and not variables:
        yield Result("endpoints", "ok", f"{len(urls)} services are asked at AWS's own endpoints")


def partition_and_account(ask: Ask) -> tuple[str, str]:
    """The partition and the account of whoever asks."""
    found = ask("sts:get_caller_identity").seen
    arn = str(found.get("Arn", ""))
    return (arn.split(":")[1] if arn.startswith("arn:") else "aws"), str(found.get("Account", ""))


def _of_aws(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return url.startswith("https://") and host.endswith(AWS_HOSTS)


def _utc(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
