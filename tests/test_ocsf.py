"""Laws of OCSF events: whatever an alert says, the event is valid against the official schema and says the same."""

import json
import os
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.rule import KINDS, Severity
from detector.ocsf import ACTIVITIES, SEVERITIES, VERSION, detection_finding
from detector.outage import Outages
from detector.storm import Limits, Storm

VERSIONS = (VERSION, "1.4.0", "1.5.0", "1.6.0", "1.7.0", "1.8.0")
"""The version written, and later ones that its readers may have."""

try:
    from jsonschema import Draft202012Validator
    from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
except ImportError:
    if os.environ.get("BUCKETWATCH_REQUIRE_ALL") == "1":
        raise
    pytest.skip("the OCSF schema (ocsf-json-schema) is not installed", allow_module_level=True)

HOSTILE = ["line\nbreak", "\x00\x1b[2J", "\u202e\ufffe\U0001f4a5", "\ud800", '"\\', "</script>", "x" * 70_000, ""]
WHO = "arn:aws-cn:sts::111122223333:assumed-role/R/n"
ALERT = {
    "schema": "bucketwatch.finding.v1",
    "alert_id": "a-0123456789abcdef",
    "rule_id": "bulk",
    "title": "Bulk read",
    "kind": "threshold",
    "severity": "high",
    "state": "opened",
    "opened_at": "2026-05-01T09:03:20Z",
    "last_at": "2026-05-01T09:05:01Z",
    "sent_at": "2026-05-01T09:06:00Z",
    "sequence": 12,
    "window_seconds": 300,
    "measure": "objects",
    "threshold": 10_000,
    "peak_value": 12_500,
    "group": {"session": WHO},
    "principal": {
        "type": "AssumedRole",
        "session": WHO,
        "role": "arn:aws-cn:iam::111122223333:role/R",
        "account": "111122223333",
        "session_name": "n",
        "principal_id": "AROA:n",
        "issued_at": "2026-05-01T09:00:00Z",
        "access_key_ids": ["ASIA1"],
        "source_identity": None,
        "mfa": False,
        "invoked_by": None,
    },
    "evidence": {
        "requests": 12_544,
        "objects": 12_500,
        "bytes": 987_654_321_000,
        "buckets": ["ml-voice-raw", "b"],
        "source_ips": ["203.0.113.9", "2001:db8::1", "AWS Internal", "ec2.amazonaws.com", "fe80::1%eth0"],
        "regions": ["cn-north-1"],
        "sample_keys": ["a/b"],
    },
    "explanation": "…",
    "runbook": "Ask them.",
    "plan": {"commands": ["aws iam put-role-policy"], "steps": ["x"]},
}


@pytest.fixture(scope="module")
def validators():
    """A validator for each version: unknown attributes are errors, as the official server has it."""
    made = {}
    for version in VERSIONS:
        schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
        made[version] = Draft202012Validator(
            schema.get_class_schema(class_name="detection_finding", profiles=["cloud"])
        )
    return made


@pytest.fixture(scope="module")
def schema():
    return get_ocsf_schema(version=VERSION)


def wrong(validators, schema, event):
    """What any version's schema says against the event, and what JSON Schema cannot say."""
    event = json.loads(json.dumps(event))
    told = [f"{version}: {error.message}" for version, v in validators.items() for error in v.iter_errors(event)]
    return [*told, *unlike(schema, schema["classes"]["detection_finding"], event, "")]


def unlike(schema, kind, found, path):
    """Names that do not go with their ids, numbers and texts beyond what their type allows."""
    for name, value in found.items():
        attribute = kind["attributes"].get(name)
        if attribute is None:
            continue
        if attribute.get("sibling") and str(value) in attribute.get("enum", {}) and value != 99:
            said, caption = found.get(attribute["sibling"]), attribute["enum"][str(value)]["caption"]
            if said is not None and said != caption:
                yield f"{path}{name}: {value} is {caption!r}, not {said!r}"
        limit = schema["types"].get(attribute["type"], {}).get("max_len")
        for one in value if isinstance(value, list) else [value]:
            if limit and isinstance(one, str) and len(one) > limit:
                yield f"{path}{name}: longer than {limit}"
            inner = schema["objects"].get(attribute.get("object_type", ""))
            if inner and isinstance(one, dict):
                yield from unlike(schema, inner, one, f"{path}{name}.")


def test_the_validator_finds_what_is_wrong(validators, schema):
    """A check that finds nothing anywhere would prove nothing."""
    good = detection_finding(ALERT)
    assert wrong(validators, schema, good) == []
    for broken in (
        {k: v for k, v in good.items() if k != "finding_info"},
        good | {"class_uid": 2005},
        good | {"no_such_attribute": 1},
        good | {"time": "yesterday"},
        good | {"severity": "Low"},
        good | {"finding_info": {"uid": "x"}},
        good | {"evidences": [{"src_endpoint": {"ip": "AWS Internal"}}]},
        good | {"message": "x" * 70_000},
        {k: v for k, v in good.items() if k != "cloud"},
    ):
        assert wrong(validators, schema, broken)


@pytest.mark.parametrize("kind", [*KINDS, "alarm"])
@pytest.mark.parametrize("state", ACTIVITIES)
def test_every_kind_in_every_state_is_valid(validators, schema, kind, state):
    """Whole alerts, and those about no single principal."""
    alert = ALERT | {"kind": kind, "state": state}
    bare = alert | {"principal": None, "group": {"source_ip": "203.0.113.9", "bucket": "b"}, "plan": None}
    for one in (alert, bare, bare | {"evidence": {}}):
        assert wrong(validators, schema, detection_finding(one)) == []


@pytest.mark.parametrize("severity", get_args(Severity))
def test_every_severity_has_its_number(validators, schema, severity):
    event = detection_finding(ALERT | {"severity": severity})
    assert wrong(validators, schema, event) == []
    assert event["severity_id"] == SEVERITIES[severity][0] != 99


def test_every_state_has_its_activity_and_type():
    told = {state: detection_finding(ALERT | {"state": state}) for state in ACTIVITIES}
    assert {state: (e["activity_id"], e["status_id"], e["type_uid"]) for state, e in told.items()} == {
        "opened": (1, 1, 200_401),
        "updated": (2, 2, 200_402),
        "closed": (3, 4, 200_403),
        "withdrawn": (3, 3, 200_403),
    }


def test_what_the_alert_says_is_in_the_event():
    """Who, what, where from, how much, what to do; and under `unmapped` what the schema has no place for."""
    event = detection_finding(ALERT)
    assert event["finding_info"]["uid"] == event["metadata"]["correlation_uid"] == ALERT["alert_id"]
    assert event["evidences"][0]["actor"]["user"]["uid"] == "AROA:n"
    assert [e["src_endpoint"]["ip"] for e in event["evidences"] if "src_endpoint" in e] == [
        "203.0.113.9",
        "2001:db8::1",
    ]
    assert event["resources"][0]["uid"] == "arn:aws-cn:s3:::ml-voice-raw"
    assert event["cloud"] == {
        "provider": "AWS", "account": {"uid": "111122223333", "type_id": 10, "type": "AWS Account"},
        "region": "cn-north-1",
    }  # fmt: skip
    assert event["remediation"]["desc"] == "aws iam put-role-policy"
    assert event["unmapped"]["peak_value"] == 12_500
    assert event["time"] == 1_777_626_360_000


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_texts_leave_it_valid(validators, schema, text):
    """A session, a key or a title of any characters, everywhere at once."""
    event = detection_finding(everywhere(ALERT, text))
    assert wrong(validators, schema, event) == []
    json.dumps(event, ensure_ascii=False).encode()


def everywhere(value, text):
    if isinstance(value, dict):
        return {k: v if k in ("state", "severity", "kind") else everywhere(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [everywhere(one, text) for one in value]
    return text if isinstance(value, str) else value


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted({*ALERT, "digest"} - {"digest"})), ANYTHING))
@settings(max_examples=60)
def test_no_alert_stops_the_emitter(changes):
    """A field that is not what it should be costs that field, never the event."""
    event = detection_finding(ALERT | changes)
    assert event["class_uid"] == 2004
    json.dumps(event, ensure_ascii=False).encode()


def test_digests_and_alarms_are_valid_too(validators, schema):
    """What stands for many, and what the daemon says of itself, go through the same sinks."""
    storm = Storm(Limits(single=1))
    for n in range(30):
        storm.offer(ALERT | {"alert_id": f"a-{n}", "group": {"session": "\x00" * n}}, n, 100)
    (digest,) = storm.due(1000)
    outages = Outages(600)
    outages.failed("sns:x", "no\x00", 1_777_626_000, refused=True)
    (alarm,) = outages.begun(1_777_626_000)
    for alert in (digest, alarm):
        assert wrong(validators, schema, detection_finding(alert)) == []
    assert detection_finding(digest)["count"] == 29
