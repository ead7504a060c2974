"""`replay --cross-check`: the forest's ranks beside the model's findings, and nothing of the findings changes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from detector.logs.parquet import to_table
from replay.options import Options
from replay.run import run
from tests.kinds import KIND, T0, batch

THEFT = T0 + (4 * 288 - 10) * 300
QUIET = [replace(one, role=f"Other{n}") for n in range(2) for one in KIND["baseline"].facts if one.time < THEFT]


@pytest.fixture
def logs(tmp_path):
    """A role that takes very much on the last of four days, and two that never do."""
    parquet.write_table(to_table(batch(KIND["baseline"].facts + QUIET)), tmp_path / "a.parquet")
    return [str(tmp_path / "a.parquet")]


def test_what_stands_out_to_both(logs):
    """The theft is the most isolated role-day, too; a role's first day is in no count; findings stay what they are."""
    rules = [KIND["baseline"].rule("baseline")]
    plain, checked = run(logs, rules), run(logs, rules, Options(cross_check=True))
    assert [one.to_json() for one in plain.findings] == [one.to_json() for one in checked.findings]
    assert plain.findings
    assert "cross_check" not in plain.summary
    (told,) = checked.summary["cross_check"]
    assert told["rule_id"] == "baseline"
    assert told["role_days"] == 3 * 3
    assert told["findings"] == len(plain.findings)
    assert 1 <= told["findings_ranked_as_high"] <= told["findings"]
    unnamed = [(one["role"], one["day"]) for one in told["not_named"]]
    assert len(unnamed) == len(set(unnamed)) == told["role_days"] - told["role_days_named"]
    assert any("role/Other" in role for role, _ in unnamed)
    last = "2026-05-04"
    assert not any(role.endswith("role/Reader") and day == last for role, day in unnamed)
    assert [one["rank"] for one in told["not_named"]] == sorted(one["rank"] for one in told["not_named"])


def test_the_command_line_asks_for_it(logs, tmp_path):
    """A rule that still learns named nothing; scikit-learn is imported when asked only."""
    program = Path(sys.executable).with_name("bucketwatch")
    (tmp_path / "r.yaml").write_text(
        "rules:\n  - {id: usual, title: t, severity: high, kind: baseline, where: {operation: read}}\n"
    )
    command = [program, "replay", *logs, "--rules", tmp_path / "r.yaml", "--out", tmp_path / "out", "--quiet"]
    subprocess.run([*command, "--cross-check"], check=True)
    (told,) = json.loads((tmp_path / "out/summary.json").read_text())["cross_check"]
    assert (told["rule_id"], told["findings"], len(told["not_named"])) == ("usual", 0, 9)
    code = "import sys, replay.run, replay.crosscheck; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
