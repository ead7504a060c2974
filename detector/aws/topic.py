"""Alerts to an SNS topic. The twin of `local.file_sink`.

One message, two texts: programs get the alert's JSON (`default`), mail gets plain words (`email`). JSON is ASCII with
everything else escaped, since SQS behind the topic takes only characters that XML allows.

Source: SNS API reference, Publish; SNS developer guide, "Message deduplication for FIFO topics".
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from detector.aws.session import client, code_of, edge
from detector.errors import EdgeError, InputError
from detector.ocsf import detection_finding
from detector.response.plain import headline, message, printable

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

LARGEST = 262_144
"""Bytes of message, attributes and subject together."""

SUBJECT = 99
ATTEMPTS = 4
TOPIC = re.compile(r"arn:aws[a-z0-9-]*:sns:([a-z0-9-]+):\d{12}:([\w-]{1,256}(?:\.fifo)?)", re.ASCII)

RENEWABLE = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
"""Answers after which credentials are looked for anew, once."""

OURS_TO_RETRY = frozenset({"Throttled", "KMSThrottling"})
"""Answers that ask to wait but which botocore's standard mode does not try again (counted by HTTP requests)."""

ESSENTIAL = (
    "schema",
    "alert_id",
    "finding_id",
    "rule_id",
    "title",
    "kind",
    "severity",
    "state",
    "opened_at",
    "last_at",
    "sent_at",
    "measure",
    "threshold",
    "peak_value",
    "group",
    "sequence",
)

WHOLE = "whole_at"
"""Field of a shortened alert: where the whole is."""


class SnsSink:
    """Publishes alerts. FIFO topics are told by their name. ocsf: programs get an OCSF Detection Finding."""

    keeps = False

    def __init__(self, topic_arn: str, *, ocsf: bool = False, sleep: Callable[[float], None] = time.sleep) -> None:
        match = TOPIC.fullmatch(topic_arn)
        if match is None:
            raise InputError(
                f"not the ARN of a topic: {printable(topic_arn)!r}",
                where="alerts",
                remedy="expected arn:<partition>:sns:<region>:<account>:<name>",
            )
        self._arn, self._region, self._ocsf, self._sleep = topic_arn, match[1], ocsf, sleep
        self._client: SNSClient | None = None
        self.name = f"sns:{match[2]}"

    def send(self, alert: Mapping[str, Any]) -> None:
        """Publish one alert. Raises EdgeError; a lost reply may publish it twice, under the same alert id."""
        request, renewed = publication(alert, self._arn, ocsf=self._ocsf), False
        for attempt in range(1, ATTEMPTS):
            try:
                return self._publish(request)
            except EdgeError as error:
                if code_of(error) in RENEWABLE and not renewed:
                    renewed = True
                    self.close()
                elif code_of(error) in OURS_TO_RETRY:
                    self._sleep(0.5 * 2**attempt)
                else:
                    raise
        return self._publish(request)

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _publish(self, request: dict[str, Any]) -> None:
        if self._client is None:
            self._client = client("sns", region=self._region, attempts=3, read_timeout=10)
        with edge("publish an alert", where=self._arn):
            self._client.publish(**request)


def publication(alert: Mapping[str, Any], topic_arn: str, *, ocsf: bool = False) -> dict[str, Any]:
    """The arguments of SNS Publish for an alert: never larger than SNS takes."""
    attributes = _attributes(alert)
    subject = printable(headline(alert), SUBJECT).encode("ascii", "replace").decode("ascii")[:SUBJECT]
    room = LARGEST - len(subject) - sum(len(k) + len("String") + len(v.encode()) for k, v in attributes.items())
    request: dict[str, Any] = {
        "TopicArn": topic_arn,
        "Subject": subject,
        "Message": _message(alert, room, detection_finding if ocsf else dict),
        "MessageStructure": "json",
        "MessageAttributes": {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()},
    }
    return request | (_fifo(alert) if topic_arn.endswith(".fifo") else {})


def _attributes(alert: Mapping[str, Any]) -> dict[str, str]:
    """What subscribers filter by. SNS refuses an attribute without a value."""
    account = (alert.get("principal") or {}).get("account") or (alert.get("group") or {}).get("account")
    values = {name: alert.get(name) for name in ("rule_id", "severity", "state")} | {"account": account}
    return {name: printable(value, 256) for name, value in values.items() if value}


def _fifo(alert: Mapping[str, Any]) -> dict[str, str]:
    """One group an alert keeps its states in order; the same sending has the same id after a crash.

    `sequence` was given when the alert was made, and is in the checkpoint with it: two updates within a second differ.
    """
    sending = "\x1f".join(str(alert.get(name, "")) for name in ("alert_id", "state", "sequence", "sent_at"))
    return {
        "MessageGroupId": str(alert.get("alert_id") or "none"),
        "MessageDeduplicationId": hashlib.sha256(sending.encode()).hexdigest(),
    }


def _message(alert: Mapping[str, Any], room: int, form: Callable[[Mapping[str, Any]], dict[str, Any]]) -> str:
    for shrink, letters in SHRINKING:
        small = shrink(alert)
        body = json.dumps({"default": json.dumps(form(small)), "email": _mail(alert, small, letters)})
        if len(body) <= room:
            return body
    raise EdgeError("an alert's identity alone is larger than a message may be", where=printable(alert.get("alert_id")))


def _mail(alert: Mapping[str, Any], small: Mapping[str, Any], letters: int) -> str:
    text = message(alert)
    if len(text) > letters:
        text = text[:letters].rpartition("\n")[0] + "\n…\n"
    return text + (f"Cut to fit; {small[WHOLE]}.\n" if WHOLE in small else "")


# --- what goes first when an alert is too large


def _whole(alert: Mapping[str, Any]) -> dict[str, Any]:
    return dict(alert)


def _pointed(alert: Mapping[str, Any]) -> dict[str, Any]:
    entry = f"entry {alert['sequence']}" if alert.get("sequence") else "the entries"
    told = f"the whole is in the journal, {entry} of alert_id {printable(alert.get('alert_id'), 80)}"
    return dict(alert) | {"truncated": True, WHOLE: told}


def _without_lists(alert: Mapping[str, Any]) -> dict[str, Any]:
    evidence = {k: v for k, v in (alert.get("evidence") or {}).items() if not isinstance(v, (list, dict))}
    return {**_pointed(alert), "evidence": evidence}


def _cut(alert: Mapping[str, Any]) -> dict[str, Any]:
    # a command cut in the middle must not be run: the plan stays whole here, and goes as a whole in the next step
    kept = _without_lists(alert)
    return {k: v if k == "plan" else _shortened(v, 1000) for k, v in kept.items()}


def _essential(alert: Mapping[str, Any]) -> dict[str, Any]:
    return _pointed({k: _shortened(alert[k], 200) for k in ESSENTIAL if k in alert})


def _shortened(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value[:limit]
    if isinstance(value, list):
        return [_shortened(item, limit) for item in value[:20]]
    if isinstance(value, dict):
        return {k[:200]: _shortened(v, limit) for k, v in list(value.items())[:50]}
    return value


SHRINKING = ((_whole, 60_000), (_without_lists, 20_000), (_cut, 8_000), (_essential, 4_000))
"""How the JSON is made smaller, and how many letters the mail may have with it."""
