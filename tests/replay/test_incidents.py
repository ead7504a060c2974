"""A replay's incidents: what is one, whose data it was, counted once; by real runs over log files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detector.cli import app
from detector.core.owner import owners
from detector.rules import load_rules
from replay.example_day import burst
from replay.options import Options
from replay.run import Result, run
from tests.records import NINE, assumed_role, file_of, record

RULES = """
rules:
  - {id: bulk, title: Bulk, severity: high, kind: threshold, where: {operation: read}, group_by: session,
     measure: objects, window: 1m, threshold: 20}
  - {id: many, title: Many, severity: medium, kind: threshold, where: {operation: read}, group_by: session,
     measure: requests, window: 5m, threshold: 50}
"""
OFFICE = "198.51.100.20"


def theft(name: str, objects: int, start: int, address: str, folder: str = "c1", first: int = 0) -> list[Any]:
    """Reads of objects from number `first` on, one a second."""
    return burst(name, first + objects, first + objects, start - first, prefix=f"raw/{folder}/", address=address)[
        first:
    ]


def began(caller: str, name: str, at: int) -> dict[str, Any]:
    """A session named `caller` assumes the contractors' role under a name."""
    arn = f"arn:aws:sts::111122223333:assumed-role/ContractorDataReader/{name}"
    answer = {"assumedRoleUser": {"assumedRoleId": f"AROAXXXXXXXXXXXXXXXX1:{name}", "arn": arn}}
    who = assumed_role(principalId=f"AROABROKER0000000001:{caller}", arn=arn.replace(name, caller))
    return record(
        "AssumeRole", eventSource="sts.amazonaws.com", userIdentity=who, requestParameters=None, resources=None,
        responseElements=answer, eventID=f"assume-{name}", eventTime=f"2026-05-01T08:{at:02d}:00Z",
        sourceIPAddress="192.0.2.9",
    )  # fmt: skip


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five stories in one morning, each in files of its own.

    Two sessions from one hosting network, whose loot overlaps; two from an office full of others; two that one session
    began, from networks of their own; one by itself.
    """
    folder = tmp_path_factory.mktemp("logs")
    quiet = [one for n in range(6) for one in theft(f"clerk-{n}", 5, NINE + 100 * n, OFFICE, "office")]
    stories = {
        "rotated": [
            *theft("r-1", 60, NINE, "203.0.113.5", "c1"),
            *theft("r-2", 40, NINE + 900, "203.0.113.6", "c1", 30),
        ],
        "office": [*theft("o-1", 30, NINE, OFFICE, "c8"), *theft("o-2", 30, NINE + 300, OFFICE, "c9"), *quiet],
        "chained": [
            *(began("dealer", f"ch-{n}", n) for n in (1, 2)),
            *theft("ch-1", 30, NINE + 60, "192.0.2.77", "c2"),
            *theft("ch-2", 30, NINE + 200, "100.20.0.1", "c3"),
        ],
        "alone": theft("alone", 30, NINE + 400, "172.104.1.1", "c5"),
    }
    for name, records in stories.items():
        (folder / f"{name}.json").write_bytes(file_of(records))
    (folder / "rules.yaml").write_text(RULES)
    return folder


@pytest.fixture(scope="module")
def result(logs: Path) -> Result:
    whose = owners(["raw/{contractor}/**"])
    return run([str(p) for p in sorted(logs.glob("*.json"))], load_rules(logs / "rules.yaml"), Options(owners=whose))


def told(result: Result) -> dict[frozenset[str], Any]:
    """Names of the sessions in it → the incident as it is written."""
    made = [one.to_json() for one in result.incidents]
    return {frozenset(s.rpartition("/")[2] for s in one["sessions"]["shown"]): one for one in made}


def test_incidents_are_what_one_thief_did_and_nobody_else(result: Result) -> None:
    """An office's way out joins nobody; every finding is in one incident."""
    assert set(told(result)) == {
        frozenset(some) for some in (("r-1", "r-2"), ("ch-1", "ch-2"), ("o-1",), ("o-2",), ("alone",))
    }
    ids = [one for incident in told(result).values() for one in incident["findings"]]
    assert sorted(ids) == sorted(one.finding_id for one in result.findings)
    assert result.summary["incidents"] == len(result.incidents) == 5


def test_an_incident_counts_each_object_and_each_owner_once(result: Result) -> None:
    """r-2 read ten objects of its own and thirty that r-1 had read; three findings tell of r-1 and r-2."""
    rotated = told(result)[frozenset(("r-1", "r-2"))]
    assert len(rotated["findings"]) == 3
    assert rotated["objects"] == {"at_least": 70, "at_most": 70}
    assert rotated["requests"]["at_least"] == 100
    assert rotated["owners"] == {"count": 1, "shown": ["c1"], "objects_without_owner": 0}
    assert told(result)[frozenset(("ch-1", "ch-2"))]["owners"] == {
        "count": 2, "shown": ["c2", "c3"], "objects_without_owner": 0,
    }  # fmt: skip


def test_every_link_says_why(result: Result) -> None:
    rotated, chained = (told(result)[frozenset(names)] for names in (("r-1", "r-2"), ("ch-1", "ch-2")))
    assert {(one["kind"], one["what"]) for one in rotated["links"] if one["kind"] == "network"} == {
        ("network", "203.0.113.0/24")
    }
    (chain,) = chained["links"]
    assert (chain["kind"], chain["what"].rpartition("/")[2]) == ("chain", "dealer")
    assert sorted(chain["between"]) == sorted(chained["findings"])
    assert "dealer" in chained["explanation"]


def test_one_plan_denies_all_sessions_of_an_incident(result: Result) -> None:
    """A document a role, with all the names in it; nothing that would be done without a person."""
    plan = told(result)[frozenset(("r-1", "r-2"))]["plan"]
    (action,) = plan["actions"]
    assert {one.partition(":")[2] for one in action["denial"]["user_ids"]} == {"r-1", "r-2"}
    assert plan["applicable"] is False
    assert plan["commands"]


def test_incidents_from_the_cache_are_the_same(logs: Path, result: Result, tmp_path: Path) -> None:
    """Who else came that way, and who began whose session, is told by what was kept of the logs."""
    paths, whose = [str(p) for p in sorted(logs.glob("*.json"))], owners(["raw/{contractor}/**"])
    rules = load_rules(logs / "rules.yaml")
    for _ in range(2):  # filled, then used
        again = run(paths, rules, Options(owners=whose, cache=tmp_path / "cache"))
        assert [one.to_json() for one in again.incidents] == [one.to_json() for one in result.incidents]


def test_the_worst_come_first_and_files_are_the_same_by_more_processes(logs: Path, tmp_path: Path) -> None:
    """And an owner's name leaves as folders do: hashed, if keys are to be."""
    written = []
    for jobs, redact in (("1", "none"), ("2", "none"), ("1", "hash")):
        out = tmp_path / f"{jobs}{redact}"
        paths = [str(p) for p in sorted(logs.glob("*.json"))]
        options = [
            "--rules",
            str(logs / "rules.yaml"),
            "--out",
            str(out),
            "--no-report",
            "--owner",
            "raw/{contractor}/",
        ]
        app([*("replay", *paths), *options, "--jobs", jobs, "--redact-keys", redact, "--quiet"], standalone_mode=False)
        written.append((out / "incidents.jsonl").read_text())
    assert written[0] == written[1]
    first, *others = map(json.loads, written[0].splitlines())
    assert first["objects"]["at_least"] == 70
    assert [one["objects"]["at_least"] for one in others] == sorted(one["objects"]["at_least"] for one in others)[::-1]
    hidden = json.loads(written[2].splitlines()[0])
    assert hidden["owners"]["count"] == 1
    assert hidden["owners"]["shown"][0].startswith("xxh64:")
    assert "c1" not in json.dumps(hidden["owners"])
