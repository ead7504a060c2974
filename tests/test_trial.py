"""Tests inside rule files, as they are run: right ones pass, wrong ones fail with the difference, in every way."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from detector.cli import app
from detector.core.rulefile import read_rules
from detector.trial import WAYS, trial

RULE = """\
rules:
  - id: bulk
    title: t
    severity: high
    kind: threshold
    where: {operation: read}
    measure: objects
    window: 5m
    threshold: 10000
    tests:
      - name: 500 reads every second for 25 seconds
        events: [{by: contractor-42, count: 500, every: 1s, for: 25s}]
        findings: [{EXPECTED}]
"""


def run(expected: str, tmp_path: Path, *options: str):
    path = tmp_path / "rule.yaml"
    path.write_text(RULE.replace("{EXPECTED}", expected), "utf-8")
    return CliRunner().invoke(app, ["rules", "test", str(path), *options])


def test_what_is_right_passes(tmp_path):
    """The value at second 19 is 500 times 20: exactly the threshold."""
    done = run("{opened: 19s, last: 24s, peak: 12500, group: contractor-42}", tmp_path)
    assert (done.exit_code, done.output) == (0, "1 tests of 1 rules: none failed\n")


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("{opened: 20s}", "opened: expected 20s, got 19s"),
        ("{opened: 19s, last: 25s}", "last: expected 25s, got 24s"),
        ("{opened: 19s, peak: 12499}", "peak: expected 12,499, got 12,500"),
        ("{opened: 19s, group: contractor-4}", "group: expected contractor-4, got arn:aws:sts::"),
        ("", "expected no more findings"),
        ("{opened: 19s}, {opened: 1h}", "got      no such finding"),
    ],
)
def test_what_is_wrong_fails_with_the_difference(expected, told, tmp_path):
    done = run(expected, tmp_path)
    assert done.exit_code == 3
    assert told in done.output
    assert f"{tmp_path / 'rule.yaml'}:11: bulk: 500 reads every second for 25 seconds: failed" in done.output


def test_the_build_machine_reads_junit(tmp_path):
    out = tmp_path / "out.xml"
    done = run("{opened: 20s}", tmp_path, "--junit", str(out))
    assert done.exit_code == 3
    suites = ET.parse(out).getroot()
    (case,) = suites.iter("testcase")
    assert (suites.get("tests"), suites.get("failures"), case.get("line")) == ("1", "1", "11")
    (failure,) = case.iter("failure")
    assert "opened: expected 20s, got 19s" in str(failure.text)


def test_programs_read_json(tmp_path):
    done = run("{opened: 19s}", tmp_path, "--json")
    (result,) = json.loads(done.stdout)
    assert (result["passed"], result["rule_id"], result["records"]) == (True, "bulk", 12_500)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_run(way, monkeypatch):
    """A rule that is right in one way and wrong in another fails, and the way is named."""
    (rule,) = read_rules({"r.yaml": RULE.replace("{EXPECTED}", "{opened: 19s}")})
    right = WAYS[way]
    monkeypatch.setitem(WAYS, way, lambda rule, batch: (right(rule, batch)[0], []))
    verdict = trial(rule, rule.tests[0])
    assert (verdict.passed, verdict.way) == (False, way)
    assert verdict.problems == ("expected opened 19s", "got      no such finding")


def test_a_rule_that_breaks_is_no_rule_that_finds_nothing(monkeypatch):
    (rule,) = read_rules({"r.yaml": RULE.replace("{EXPECTED}", "")})

    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("detector.core.threshold.ThresholdWatch.absorb", fail)
    assert trial(rule, rule.tests[0]).problems == ("the rule failed: RuntimeError: boom",)


def test_what_is_wrong_in_a_test_is_told_with_its_place(tmp_path):
    path = tmp_path / "rule.yaml"
    path.write_text(RULE.replace("{EXPECTED}", "{opend: 19s}").replace("count", "cuont"), "utf-8")
    done = CliRunner().invoke(app, ["rules", "test", str(path)])
    problems = [str(problem) for problem in done.exception.problems]
    assert problems == [
        f"{path}:12:38: tests.events.cuont: unknown field; did you mean 'count'?",
        f"{path}:13:20: tests.findings.opened: required field is missing",
        f"{path}:13:21: tests.findings.opend: unknown field; did you mean 'opened'?",
    ]
