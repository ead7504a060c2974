"""An alert as an OCSF Detection Finding (class 2004), for whoever collects findings of many products. Pure.

Version 1.3.0, profile `cloud`. Every text is the requester's own: it is cut to what the schema allows, made valid text,
and stands in a field only if it is what that field holds (an address that is none is no `ip`). What has no field in the
schema is under `unmapped`, as it stands in the contract's alert.

Source: the OCSF schema, https://schema.ocsf.io/1.3.0/classes/detection_finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from detector.core.times import epoch
from detector.response.plain import headline

VERSION = "1.3.0"
CLASS = 2004
LONGEST = 65_535
MOST = 20
"""Items of a list, at most."""

ACTIVITIES = {
    "opened": (1, "Create", 1, "New"),
    "updated": (2, "Update", 2, "In Progress"),
    "closed": (3, "Close", 4, "Resolved"),
    "withdrawn": (3, "Close", 3, "Suppressed"),
}
"""State of an alert → activity and its name, status and its name."""
SEVERITIES = {
    "info": (1, "Informational"),
    "low": (2, "Low"),
    "medium": (3, "Medium"),
    "high": (4, "High"),
    "critical": (5, "Critical"),
}
ANALYTICS = {"baseline": (4, "Learning (ML/DL)"), "first_seen": (2, "Behavioral"), "silence": (2, "Behavioral")}
"""Kind of a rule → type of analytic; all others are rules."""
MAPPED = frozenset(
    {"severity", "state", "title", "explanation", "rule_id", "opened_at", "last_at", "sent_at", "principal"}
)
PARTITION = re.compile(r"arn:(aws[a-z-]*):", re.ASCII)


def detection_finding(alert: Mapping[str, Any]) -> dict[str, Any]:
    """The Detection Finding that says what an alert says."""
    activity, activity_name, status, status_name = ACTIVITIES.get(str(alert.get("state")), (99, "Other", 99, "Other"))
    severity, severity_name = SEVERITIES.get(str(alert.get("severity")), (99, "Other"))
    event = {
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + activity,
        "type_name": f"Detection Finding: {activity_name}",
        "severity_id": severity,
        "severity": severity_name,
        "status_id": status,
        "status": status_name,
        "time": _time(alert, "sent_at", "last_at", "opened_at") or 0,
        "start_time": _time(alert, "opened_at"),
        "end_time": _time(alert, "last_at"),
        "count": _count(alert),
        "message": headline(alert),
        "metadata": _metadata(alert),
        "finding_info": _finding(alert),
        "cloud": _cloud(alert),
        "resources": [*_resources(alert)],
        "evidences": [*_evidences(alert)],
        "observables": [*_observables(alert)],
        "remediation": _remediation(alert),
        "unmapped": {name: value for name, value in alert.items() if name not in MAPPED},
    }
    clean: dict[str, Any] = _valid(event)
    return clean


def _metadata(alert: Mapping[str, Any]) -> dict[str, Any]:
    sequence = alert.get("sequence")
    return {
        "version": VERSION,
        "profiles": ["cloud"],
        "product": {"name": "bucketwatch", "vendor_name": "bucketwatch"},
        "uid": f"{alert.get('alert_id', '')}/{alert.get('state', '')}/{sequence or alert.get('sent_at', '')}",
        "correlation_uid": alert.get("alert_id"),
        "sequence": sequence if isinstance(sequence, int) else None,
        "log_name": alert.get("schema"),
        "log_provider": "bucketwatch",
    }


def _finding(alert: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(alert.get("kind", ""))
    number, name = ANALYTICS.get(kind, (1, "Rule"))
    rule = str(alert.get("rule_id") or "unknown")
    return {
        "uid": str(alert.get("alert_id") or "unknown"),
        "title": str(alert.get("title") or rule),
        "desc": alert.get("explanation"),
        "types": [kind] if kind else [],
        "created_time": _time(alert, "opened_at"),
        "first_seen_time": _time(alert, "opened_at"),
        "last_seen_time": _time(alert, "last_at"),
        "modified_time": _time(alert, "sent_at"),
        "analytic": {"uid": rule, "name": alert.get("title"), "type_id": number, "type": name, "category": kind},
    }


def _cloud(alert: Mapping[str, Any]) -> dict[str, Any]:
    account = _account(alert)
    regions = _list(alert, "regions")
    return {"provider": "AWS", "account": account, "region": regions[0] if len(regions) == 1 else None}


def _account(alert: Mapping[str, Any]) -> dict[str, Any] | None:
    number = _principal(alert).get("account") or _group(alert).get("account")
    return {"uid": str(number), "type_id": 10, "type": "AWS Account"} if number else None


def _resources(alert: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    partition = _partition(alert)
    for bucket in _buckets(alert):
        yield {
            "name": bucket,
            "uid": f"arn:{partition}:s3:::{bucket}",
            "type": "AWS::S3::Bucket",
            "cloud_partition": partition,
        }


def _evidences(alert: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    counts = {k: v for k, v in _evidence(alert).items() if isinstance(v, int | float)}
    actor = _actor(alert)
    if actor or counts:
        yield {"actor": actor, "data": counts or None}
    for address in _addresses(alert):
        yield {"src_endpoint": {"ip": address}}
    for bucket in _buckets(alert):
        yield {"databucket": {"name": bucket, "type_id": 1, "type": "S3"}}


def _actor(alert: Mapping[str, Any]) -> dict[str, Any] | None:
    principal = _principal(alert)
    if not principal:
        return None
    keys = principal.get("access_key_ids") or [None]
    name = principal.get("session_name") or principal.get("session") or principal.get("role")
    user = {
        "name": name,
        "uid": principal.get("principal_id") or principal.get("session") or principal.get("role"),
        "type_id": 99,
        "type": principal.get("type"),
        "account": _account(alert),
        "credential_uid": keys[0],
    }
    session = {
        "uid": principal.get("session"),
        "issuer": principal.get("role"),
        "created_time": _time(principal, "issued_at"),
        "is_mfa": principal.get("mfa") if isinstance(principal.get("mfa"), bool) else None,
    }
    return {"user": user, "session": session, "invoked_by": principal.get("invoked_by")}


def _observables(alert: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for address in _addresses(alert):
        yield {"name": "evidences.src_endpoint.ip", "type_id": 2, "type": "IP Address", "value": address}
    partition = _partition(alert)
    for bucket in _buckets(alert):
        value = f"arn:{partition}:s3:::{bucket}"
        yield {"name": "resources.uid", "type_id": 10, "type": "Resource UID", "value": value}
    for level, name in _group(alert).items():
        yield {"name": f"unmapped.group.{level}", "type_id": 99, "type": str(level), "value": str(name)}


def _remediation(alert: Mapping[str, Any]) -> dict[str, Any] | None:
    plan = alert.get("plan")
    steps = [*(plan.get("commands") or plan.get("steps") or ())] if isinstance(plan, Mapping) else []
    told = str(steps[0]) if steps else str(alert.get("runbook") or "")
    return {"desc": told} if told else None


def _count(alert: Mapping[str, Any]) -> int | None:
    found = (alert.get("digest") or {}).get("count") or _evidence(alert).get("requests")
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found < 1 << 31 else None


def _time(of: Mapping[str, Any], *names: str) -> int | None:
    """Milliseconds since 1970 of the first of these times that there is."""
    return next((second * 1000 for name in names if (second := epoch(of.get(name))) is not None), None)


def _principal(alert: Mapping[str, Any]) -> Mapping[str, Any]:
    found = alert.get("principal")
    return found if isinstance(found, Mapping) else {}


def _group(alert: Mapping[str, Any]) -> Mapping[str, Any]:
    found = alert.get("group")
    return found if isinstance(found, Mapping) else {}


def _evidence(alert: Mapping[str, Any]) -> Mapping[str, Any]:
    found = alert.get("evidence")
    return found if isinstance(found, Mapping) else {}


def _list(alert: Mapping[str, Any], name: str) -> list[str]:
    found = _evidence(alert).get(name)
    return [str(one) for one in found[:MOST] if one] if isinstance(found, list) else []


def _buckets(alert: Mapping[str, Any]) -> list[str]:
    return _list(alert, "buckets") or [str(name) for level, name in _group(alert).items() if level == "bucket" and name]


def _addresses(alert: Mapping[str, Any]) -> Iterator[str]:
    for text in _list(alert, "source_ips"):
        try:
            address = ip_address(text)
        except ValueError:  # AWS writes names of services there, too
            continue
        if "%" not in str(address):
            yield str(address)


def _partition(alert: Mapping[str, Any]) -> str:
    for text in (_principal(alert).get("role"), _principal(alert).get("session"), *_group(alert).values()):
        if match := PARTITION.match(str(text)):
            return match[1]
    return "aws"


def _valid(value: Any) -> Any:
    """Without what is empty, and with texts that are valid and no longer than the schema allows."""
    if isinstance(value, str):
        return value[:LONGEST].encode("utf-8", "backslashreplace").decode()[:LONGEST]
    if isinstance(value, Mapping):
        pairs = ((_valid(str(name)), _valid(one)) for name, one in value.items())
        return {name: one for name, one in pairs if one is not None and one not in ([], {})}
    if isinstance(value, list | tuple):
        return [_valid(one) for one in value]
    return value
