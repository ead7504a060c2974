"""The schema says of rule files what the reader says of them: it takes what is taken, and points at mistypes."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from detector.core.document import load_yaml, plain
from detector.core.rulefile import read_rules
from detector.core.schema import rule_file_schema
from detector.errors import RuleFileError

SCHEMA = jsonschema.Draft202012Validator(rule_file_schema())
RULES = sorted((Path(__file__).resolve().parents[2] / "rules").rglob("*.yaml"))
RULE = {
    "id": "bulk", "title": "t", "severity": "high", "kind": "threshold", "where": {"operation": "read"},
    "group_by": "session", "measure": "objects", "window": "5m", "threshold": 10_000, "respond": ["alert"],
    "exceptions": [{"role": "r", "allow_up_to": 60_000, "until": "2027-01-31", "owner": "o", "reason": "x"}],
}  # fmt: skip


def written(rule):
    """As JSON, which is YAML too, but for the date."""
    return json.dumps({"rules": [rule]}).replace('"2027-01-31"', "2027-01-31")


def taken(rule):
    try:
        read_rules({"r.yaml": written(rule)})
    except RuleFileError:
        return False
    return True


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_the_shipped_rules_are_valid(path):
    problems = []
    document = json.loads(json.dumps(plain(load_yaml(path.name, path.read_text("utf-8"), problems)), default=str))
    assert problems == []
    assert [error.message for error in SCHEMA.iter_errors(document)] == []


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(rule_file_schema())
    json.dumps(rule_file_schema())


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True), ({"respond": "alert"}, True), ({"group_by": ["session", "bucket"]}, True),
        ({"where": {"operation": ["read", "list"], "key": "raw/**"}}, True), ({"window": "90 s"}, True),
        ({"threshold": 1.5}, True), ({"stage": "staged"}, True), ({"accept_withdrawable": True}, True),
        ({"kind": "baseline", "window": None, "exceptions": None, "measure": None, "threshold": 3, "group_by": "role"},
         True),
        ({"kind": "baseline", "window": None, "exceptions": None, "threshold": 3, "group_by": "role"}, False),
        ({"severity": "severe"}, False), ({"window": 300}, False), ({"window": "5 minutes"}, False),
        ({"threshold": "many"}, False), ({"threshold": True}, False), ({"tresholds": 5}, False),
        ({"id": "Bulk"}, False),
        ({"id": None}, False), ({"measure": "files"}, False), ({"group_by": "everybody"}, False),
        ({"group_by": []}, False), ({"respond": "shout"}, False), ({"where": {"bukcet": "x"}}, False),
        ({"kind": "magic"}, False), ({"title": ""}, False), ({"exceptions": [{"role": "r"}]}, False),
    ],
    ids=str,
)  # fmt: skip
def test_schema_and_reader_agree(change, right):
    """What one types wrong is wrong to both."""
    rule = copy.deepcopy(RULE) | change
    rule = {name: value for name, value in rule.items() if value is not None}
    assert taken(rule) is right
    assert SCHEMA.is_valid({"rules": [rule]}) is right


@pytest.mark.parametrize("document", [{}, {"rules": {}}, {"rules": [], "more": 1}, [], {"rules": ["x"]}])
def test_a_file_is_a_list_of_rules(document):
    assert not SCHEMA.is_valid(document)
