"""`--json` of commands that check and list: what a person is told, for programs, with the same exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from detector.chain import GENESIS
from detector.cli import app
from detector.errors import RuleFileError

WRONG = "rules:\n  - {id: Bad, title: t, severity: loud, kind: threshold}\n"


def said(*words: str, status: int = 0) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)


def test_rules_check_tells_every_problem(tmp_path: Path):
    """With its place; a file that cannot be read as YAML is a problem like any other."""
    (tmp_path / "wrong.yaml").write_text(WRONG)
    found = said("rules", "check", str(tmp_path / "wrong.yaml"), status=2)
    told = CliRunner().invoke(app, ["rules", "check", str(tmp_path / "wrong.yaml")]).exception
    assert isinstance(told, RuleFileError)
    assert [(one["line"], one["column"], one["message"]) for one in found["problems"]] == [
        (one.line, one.column, one.message) for one in told.problems
    ]
    (tmp_path / "torn.yaml").write_text("rules: [")
    assert said("rules", "check", str(tmp_path / "torn.yaml"), status=2)["problems"][0]["kind"] == "error"
    right = said("rules", "check")
    assert right["rules"] > 70
    assert not [one for one in right["problems"] if one["kind"] == "error"]


def test_journal_verify_tells_head_and_problems(tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("no entry\n")
    found = said("journal", "verify", str(journal), status=3)
    assert found["problems"]
    assert found["head"] == GENESIS
    assert found["head_seen"] is None


def test_decoys_are_told_one_by_one(tmp_path: Path):
    """Planned, planted, listed, looked at and removed, in folders that stand for buckets."""
    raw = tmp_path / "root/voice/raw"
    raw.mkdir(parents=True)
    for number in range(30):
        (raw / f"utt-{number:04}.wav").write_bytes(b"x" * (100 + number))
    root, registry = ["--root", str(tmp_path / "root")], ["--registry", str(tmp_path / "registry")]
    plan = str(tmp_path / "plan.json")
    seed = ["--seed", str(tmp_path / "seed")]
    assert not CliRunner().invoke(app, ["decoy", "plan", "s3://voice/raw/", "--out", plan, *root, *seed]).exit_code
    planted = said("decoy", "plant", plan, *registry, *root, "--yes")
    assert [one["state"] for one in planted] == ["planted"] * 3
    listed = said("decoy", "list", *registry)
    assert {(one["bucket"], one["key"]) for one in listed} == {(one["bucket"], one["key"]) for one in planted}
    Path(tmp_path / "root/voice" / listed[0]["key"]).unlink()
    looked = said("decoy", "list", "--look", *registry, *root, status=3)
    assert sorted(one["state"] == "there" for one in looked) == [False, True, True]
    assert len(said("decoy", "remove", *registry, *root, "--yes")) == 3


@pytest.mark.parametrize("words", [["rules", "check"], ["decoy", "list", "--registry", "x"]], ids=" ".join)
def test_json_goes_to_standard_output_alone(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.stdout.startswith(("{", "["))
    assert not done.stderr
