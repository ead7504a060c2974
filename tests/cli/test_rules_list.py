"""`rules list`: every rule, as a table and as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from detector.core.rulefile import read_written
from detector.rules import rule_files, shipped

BUCKETWATCH = Path(sys.executable).with_name("bucketwatch")


def listed(*options: str) -> str:
    done = subprocess.run([BUCKETWATCH, "rules", "list", *options], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_shipped_rules_are_all_listed():
    """With what they are, in both forms."""
    located = read_written(rule_files(shipped())).rules
    rules = [one.rule for one in located]
    said = json.loads(listed("--json"))
    assert [one["id"] for one in said] == [rule.id for rule in rules]
    assert [(one["severity"], one["summary"]) for one in said] == [(rule.severity, rule.summary) for rule in rules]
    assert [tuple(one.get("waits", ())) for one in said] == [one.waits for one in located]
    shown = listed()
    assert all(rule.id in shown for rule in rules)
