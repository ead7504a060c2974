"""Sigma rules: what they choose is what reading them by hand gives; what they cannot mean here is refused by name."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.kinds.sigma import SigmaRule
from detector.core.projection import columns
from detector.core.rulefile import read_rules
from detector.core.select import selectors_of
from detector.core.sigma import is_sigma
from detector.core.sigma_fields import FIELDS
from detector.core.sigma_mask import matcher
from detector.errors import RuleFileError
from detector.logs.limits import LIMITS
from detector.logs.read import read
from detector.watches import watches
from tests.records import assumed_role, file_of, iam_user, record

Json = dict[str, Any]
ID, OTHER = "5f0c2f9e-6f6d-4a53-9a0b-2f3f6f0a1c11", "5f0c2f9e-6f6d-4a53-9a0b-2f3f6f0a1c22"


def document(detection: Json, **changes: Any) -> str:
    """A Sigma rule as JSON, which is YAML."""
    made = {
        "title": "t", "id": ID, "name": "base", "status": "test", "level": "high",
        "logsource": {"product": "aws", "service": "cloudtrail"}, "detection": detection,
    }  # fmt: skip
    # a block at the top level, as people write it: the kind of file is told by it
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in (made | changes).items())


def loaded(*texts: str) -> list[SigmaRule]:
    found = read_rules({f"{n}.yml": text for n, text in enumerate(texts)})
    assert all(isinstance(rule, SigmaRule) for rule in found)
    return found  # type: ignore[return-value]


def problems_of(*texts: str) -> list[str]:
    try:
        loaded(*texts)
    except RuleFileError as error:
        return [str(problem) for problem in error.problems]
    return []


def refused(*texts: str) -> list[str]:
    problems = problems_of(*texts)
    assert problems
    return problems


def batch(records: list[Json], rules: list[Any]) -> Any:
    builder = BatchBuilder(columns(rules))
    reading = read(file_of(records), "x.json", builder, LIMITS)
    assert not reading.damage
    made = builder.build()
    assert len(made) == len(records)
    return made


def chosen(rule: SigmaRule, records: list[Json]) -> list[bool]:
    (selector,) = selectors_of(rule)
    return selector.mask(batch(records, [rule])).tolist()


# --- a rule read by hand


def value_of(one: Json, field: str) -> str | None:
    node: Any = one
    for step in field.split("."):
        node = node.get(step) if isinstance(node, dict) else None
    return None if node is None else str(node)


def holds(one: Json, key: str, values: Any) -> bool:
    """One line of a detection, by the words of the specification."""
    field, *modifiers = key.split("|")
    got = value_of(one, field)
    every = values if isinstance(values, list) else [values]
    if "exists" in modifiers:
        return (got is not None) == values
    forms = [got, got[1:-1]] if field == "userAgent" and got and got[0] + got[-1] == "[]" else [got]
    return (all if "all" in modifiers else any)(
        any(one_holds(form, modifiers, value) for form in forms) for value in every
    )


def one_holds(got: str | None, modifiers: list[str], value: Any) -> bool:
    if value is None or got is None:
        return value is None and got is None
    if "cidr" in modifiers:
        try:
            return ipaddress.ip_address(got) in ipaddress.ip_network(value)
        except ValueError:
            return False
    if "re" in modifiers:
        return re.search(value, got, re.IGNORECASE if "i" in modifiers else 0) is not None
    pattern = re.escape(str(value)).replace(r"\*", ".*").replace(r"\?", ".")
    before, after = (
        "contains" in modifiers or "endswith" in modifiers,
        "contains" in modifiers or "startswith" in modifiers,
    )
    flags = re.DOTALL if "cased" in modifiers else re.DOTALL | re.IGNORECASE
    return re.fullmatch(".*" * before + pattern + ".*" * after, got, flags) is not None


def by_hand(detection: Json, one: Json) -> bool:
    names = [name for name in detection if name != "condition"]
    found = {name: all(holds(one, key, values) for key, values in detection[name].items()) for name in names}
    condition = detection["condition"].replace("1 of them", f"({' or '.join(names)})")
    condition = condition.replace("all of them", f"({' and '.join(names)})")
    return bool(eval(condition, {}, found))


# --- laws

AGENTS = ["[aws-cli/2.15]", "[Boto3/1.38]", "[rclone/v1.69]", "[x.y*z]", "[a\nb]"]  # S3 puts them into brackets
BUCKETS, KEYS = ["ml-voice", "ML-face", "other"], ["raw/a.wav", "raw/b/c.wav", "Raw/A.WAV"]
CALLS = ["GetObject", "PutObject", "ListObjects", "DeleteObject", "HeadObject"]
ADDRESSES = ["198.51.100.7", "10.1.2.3", "2001:db8::1", "AWS Internal"]

record_ = st.builds(
    lambda call, agent, bucket, key, address, error, who, region, vpce: record(
        call,
        userAgent=agent,
        sourceIPAddress=address,
        awsRegion=region,
        userIdentity=who,
        requestParameters={"bucketName": bucket, "key": key},
        resources=[
            {"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{bucket}/{key}"},
            {"accountId": "1", "type": "AWS::S3::Bucket", "ARN": f"arn:aws:s3:::{bucket}"},
        ],
        **({"errorCode": error} if error else {}),
        **({"vpcEndpointId": vpce} if vpce else {}),
    ),
    st.sampled_from(CALLS), st.sampled_from(AGENTS), st.sampled_from(BUCKETS), st.sampled_from(KEYS),
    st.sampled_from(ADDRESSES), st.sampled_from([None, "AccessDenied", "NoSuchKey"]),
    st.sampled_from([assumed_role(), iam_user()]),
    st.sampled_from(["us-east-1", "eu-west-1"]), st.sampled_from([None, "vpce-1"]),
)  # fmt: skip

TEXTS: dict[str, list[str]] = {
    "eventName": CALLS, "userAgent": AGENTS, "requestParameters.bucketName": BUCKETS,
    "requestParameters.key": KEYS, "sourceIPAddress": ADDRESSES, "awsRegion": ["us-east-1"],
    "userIdentity.type": ["AssumedRole", "IAMUser", "Root"], "vpcEndpointId": ["vpce-1"],
    "userIdentity.arn": [assumed_role()["arn"], iam_user()["arn"]],
    "userIdentity.principalId": [assumed_role()["principalId"]], "userIdentity.accessKeyId": ["AKIAEXAMPLEKEY000001"],
    "userIdentity.accountId": ["111122223333"],
    "userIdentity.sessionContext.attributes.mfaAuthenticated": ["false", "true"],
}  # fmt: skip


@st.composite
def line_(draw: st.DrawFn) -> tuple[str, Any]:
    """A field with modifiers, and its values: whole, cut, in other case, with wildcards."""
    kind = draw(st.sampled_from(["text"] * 5 + ["cidr", "re", "exists", "null", "error"]))
    field = draw(st.sampled_from(sorted(TEXTS)))
    if kind == "cidr":
        return "sourceIPAddress|cidr", draw(st.sampled_from(["10.0.0.0/8", "2001:db8::/32", "198.51.100.7/32"]))
    if kind == "exists":
        return f"{field}|exists", draw(st.booleans())
    if kind == "null":
        return field, None
    if kind == "error":
        how = draw(st.sampled_from(["", "|contains", "|startswith", "|cased"]))
        text = draw(st.sampled_from(["AccessDenied", "accessdenied", "NoSuchKey", "NoSuch*", "Such"]))
        return draw(st.sampled_from([("errorCode", None), ("errorCode|re", "^No.*Key$"), (f"errorCode{how}", text)]))
    if kind == "re":
        pattern = draw(st.sampled_from(["^aws", "o.*3", r"\d\.\d", "(a|b)c?", r"\.wav$", "GET"]))
        field = draw(st.sampled_from(["userAgent", "requestParameters.key"]))
        return field + draw(st.sampled_from(["|re", "|re|i"])), pattern
    text = draw(st.sampled_from(TEXTS[field]))
    first = draw(st.integers(0, len(text) - 1))
    piece = draw(
        st.sampled_from([text, text[first:], text[: first + 1], text.upper(), f"*{text[first:]}", text[:first] + "*"])
    )
    modifiers = draw(st.sampled_from(["", "|contains", "|startswith", "|endswith", "|contains|all", "|cased"]))
    if field == "eventName" and "cased" in modifiers:
        piece = text
    if not piece.strip("*?"):
        piece = text
    more = draw(st.lists(st.sampled_from(TEXTS[field]), max_size=2))
    if "all" in modifiers:
        more = more or [text]
    return field + modifiers, [piece, *more] if more else piece


detection_ = st.fixed_dictionaries(
    {
        "a": st.lists(line_(), min_size=1, max_size=3).map(dict),
        "b": st.lists(line_(), min_size=1, max_size=2).map(dict),
        "condition": st.sampled_from(
            ["a and b", "a or b", "a and not b", "not (a or b)", "1 of them", "all of them", "not a or b"]
        ),
    }
)


@settings(max_examples=400, deadline=None)
@given(detection=detection_, records=st.lists(record_, min_size=1, max_size=8))
def test_a_detection_chooses_what_reading_it_by_hand_does(detection, records):
    """Every modifier and condition, over real records; by an evaluation a record that knows nothing of columns."""
    text = document(detection)
    if wrong := problems_of(text):  # a cut of a call's name may fit no call there is
        assert all("no call about S3 access" in problem for problem in wrong)
        return
    (rule,) = loaded(text)
    numbered = [one | {"eventID": f"e{n}"} for n, one in enumerate(records)]
    assert chosen(rule, numbered) == [by_hand(detection, one) for one in numbered]


def test_hostile_texts_take_linear_time_and_raise_nothing():
    """What takes Python's own engine for ever; and half a character."""
    expression = matcher("re", r"(a+)+$")
    began = time.perf_counter()
    assert not expression("a" * 20_000 + "b")
    assert not matcher("like", r"(?is)\A(?:.*a.*a.*a.*a.*a.*b)\z")("a" * 5_000)
    assert time.perf_counter() - began < 5
    assert not matcher("re", "x")("\ud800")


# --- rules as SigmaHQ has them for S3, in our words

EXPORT = {
    "switch": {"eventSource": "s3.amazonaws.com", "eventName": ["PutBucketLogging", "PutBucketPolicy"]},
    "mine": {"userIdentity.arn|endswith": "/deployer"},
    "condition": "switch and not mine",
}


def test_a_control_that_is_changed_is_one_finding_of_its_session():
    """As a rule for `aws/cloudtrail` is written; another's change is found, the deployer's is not."""
    (rule,) = loaded(document(EXPORT))
    mine = assumed_role(arn="arn:aws:sts::111122223333:assumed-role/x/deployer", principalId="AROAX:deployer")
    records = [
        record("PutBucketPolicy", eventID="1", resources=...),
        record("PutBucketPolicy", eventID="2", userIdentity=mine, resources=...),
        record("GetBucketPolicy", eventID="3", resources=...),
    ]
    engine = Engine([rule], watches(once=True), best_copies=True)
    engine.process(batch(records, [rule]), 1 << 40)
    (finding,) = [f for f in engine.finish() if f.state == "closed"]
    assert not engine.failures
    assert finding.group["session"].endswith("/contractor-42")
    assert finding.peak_value == 1


def correlation(**changes: Any) -> str:
    said = {
        "type": "event_count", "rules": ["base"], "group-by": ["userIdentity.arn"], "timespan": "5m",
        "condition": {"gte": 3},
    } | changes  # fmt: skip
    head = {"title": "many", "id": OTHER, "level": "critical"}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in (head | {"correlation": said}).items())


READS = {"reads": {"eventName": "GetObject"}, "condition": "reads"}


@pytest.mark.parametrize(
    ("said", "measure", "threshold", "group_by", "window"),
    [
        ({}, "requests", 3, ("session",), 300),
        ({"condition": {"gt": 3}, "timespan": "1h"}, "requests", 4, ("session",), 3600),
        (
            {"type": "value_count", "condition": {"gte": 9, "field": "sourceIPAddress"}},
            "source_ips", 9, ("session",), 300,
        ),
        (
            {"type": "value_count", "condition": {"gte": 9, "field": "requestParameters.key"}, "timespan": "1d"},
            "objects", 9, ("session",), 86_400,
        ),
        (
            {"group-by": ["userIdentity.sessionContext.sessionIssuer.arn", "requestParameters.bucketName"]},
            "requests", 3, ("role", "bucket"), 300,
        ),
    ],
)  # fmt: skip
def test_a_correlation_is_a_threshold(said, measure, threshold, group_by, window):
    """In another file, or in another document of the same; the rule it names finds nothing of its own."""
    for texts in ((document(READS), correlation(**said)), (document(READS) + "---\n" + correlation(**said),)):
        (rule,) = loaded(*texts)
        got = rule.measure, rule.threshold, tuple(rule.group_by), rule.window, rule.severity
        assert got == (measure, threshold, group_by, window, "critical")
    assert len(loaded(document(READS), correlation(generate=True, **said))) == 2


def test_sigma_rules_load_beside_native_ones(tmp_path):
    """Told apart by content; an id may be used once."""
    native = (Path(__file__).parents[2] / "rules" / "bulk-read.yaml").read_text()
    assert is_sigma(document(READS))
    assert not is_sigma(native)
    both = read_rules({"a.yaml": native, "b.yml": document(READS)})
    assert {rule.id for rule in both} > {ID, "bulk-object-read-session"}
    assert any("two rules with one id" in told for told in refused(document(READS), document(READS, name="x")))


def test_what_a_rule_counts_is_in_its_digest():
    """A change of the detection starts it anew; one of its title does not."""
    one, same = loaded(document(READS))[0], loaded(document(READS, title="other"))[0]
    other = loaded(document({"reads": {"eventName": "PutObject"}, "condition": "reads"}))[0]
    assert one.digest() == same.digest() != other.digest()


def said(**fields: Any) -> Json:
    return {"s": fields, "condition": "s"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (document(said(**{"requestParameters.policyName": "x"})), "requestParameters.policyName: no field"),
        (document(said(eventSource="iam.amazonaws.com")), "eventSource: 'iam.amazonaws.com': no source"),
        (document(said(eventName="CreateUser")), "eventName: 'CreateUser': no call about S3 access"),
        (document(said(**{"userAgent|re": "(?=a)b"})), "invalid perl operator"),
        (document(said(**{"userAgent|re": "a" * 1001})), "expected at most 1000 characters"),
        (document(said(**{"userAgent|cidr": "10.0.0.0/8"})), "userAgent: cidr"),
        (document(said(**{"userAgent|gt": 5})), "userAgent: expected texts"),
        (document(said(**{"userAgent|fieldref": "awsRegion"})), "userAgent: expected texts"),
        (document(said(**{"userAgent|nosuch": "a"})), "nosuch"),
        (document({"s": ["word"], "condition": "s"}), "keywords: expected fields"),
        (document({"s": {"eventName": "GetObject"}, "condition": "s and t"}), "t"),
        (document(said(eventName="GetObject"), logsource={"product": "windows"}), "logsource: expected product aws"),
        (document(said(eventName="GetObject"), status="deprecated"), "status: expected"),
        (document(said(eventName="GetObject"), level="severe"), "level: expected"),
        (document(said(eventName="GetObject"), id="no id"), "id: expected"),
        ("detection: 5\n", "not a Sigma rule"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused_by_name(text, told):
    """Each with file, line and column; never a rule that finds nothing."""
    problems = refused(text)
    assert any(told in problem for problem in problems), problems
    assert all(re.match(r"0\.yml:\d+:\d+: ", problem) for problem in problems)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"type": "temporal"}, "type: expected event_count or value_count, got temporal"),
        ({"condition": {"lte": 3}}, "condition: expected gte or gt"),
        ({"type": "value_count", "condition": {"gte": 3, "field": "userAgent"}}, "field: expected one of"),
        ({"group-by": ["userAgent"]}, "group-by: expected some of"),
        ({"group-by": []}, "group-by: required"),
        ({"rules": ["nosuch"]}, "rules: 'nosuch': no rule"),
        ({"timespan": "60d"}, "window: expected 10s to 30d"),
        ({"type": "value_count", "condition": {"gte": 200_000, "field": "sourceIPAddress"}}, "at most 100000"),
        ({"rules": [OTHER]}, "a correlation, which cannot be counted"),
    ],
)
def test_correlations_that_cannot_be_counted_are_refused_by_name(said, told):
    assert any(told in problem for problem in refused(document(READS), correlation(**said)))


def test_a_problem_has_the_line_of_its_field_in_whichever_document():
    second = document(said(**{"requestParameters.policyName": "x"}), id=OTHER, name="second")
    (problem,) = refused(document(READS) + "---\n" + second)
    line = (document(READS) + "---\n" + second).splitlines().index(second.splitlines()[-1]) + 1
    assert problem.startswith(f"0.yml:{line}:")


def test_without_pysigma_it_is_said_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sigma", None)
    monkeypatch.setitem(sys.modules, "sigma.rule", None)
    (problem,) = refused(document(READS))
    assert "pip install 'bucketwatch[sigma]'" in problem


def test_every_field_is_in_the_table_of_the_rule_language():
    language = (Path(__file__).parents[2] / "rules" / "README.md").read_text("utf-8")
    section = language.split("## Sigma")[1].split("\n## ")[0]
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row[0])}
    assert named == set(FIELDS)
    for row in rows:
        for name in re.findall(r"`([\w.]+)`", row[0]):
            about = FIELDS[name]
            assert (about.level or "") in row[1]
            assert (about.measure or "") in row[1]


def test_the_rules_shown_load():
    language = (Path(__file__).parents[2] / "rules" / "README.md").read_text("utf-8")
    shown = re.search(r"^```yaml\n(title: .*?)^```$", language.split("## Sigma")[1], re.MULTILINE | re.DOTALL)
    assert shown
    (rule,) = loaded(shown[1])
    assert rule.measure == "buckets"


def test_history_that_is_kept_for_one_detection_is_not_taken_for_another():
    """`rules tune` keeps what a rule counts by a name that says what that is."""
    from replay.options import Options
    from replay.whatif.shelf import name_of

    names = {
        name_of([], loaded(document({"reads": {"eventName": call}, "condition": "reads"}, title=title))[0], Options())
        for call in ("GetObject", "PutObject")
        for title in ("a", "b")
    }
    assert len(names) == 2
