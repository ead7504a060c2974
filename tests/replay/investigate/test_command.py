"""`bucketwatch investigate` from logs to files: as a person, a script and a hostile log use it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from replay import scope_of_loss
from replay.spreadsheet import FORMULA
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import ROLE_ARN, SESSION_ARN, assumed_role, file_of, record
from tests.test_docs import README, blocks

BUCKETWATCH = Path(sys.executable).parent / "bucketwatch"
HOSTILE = "=cmd|'calc'!A0"
KEYS = ["c-1/a.wav", f"{HOSTILE}/<script>alert(1)</script>.wav", "c-2/\u202egnp.exe", 'c-3/a\r\n,"b"`|x']
FINDING = {
    "finding_id": "0123456789abcdef", "alert_ids": ["a-0123456789abcdef"], "rule_id": "r", "title": "T",
    "opened_at": "2026-05-01T09:00:00Z", "last_at": "2026-05-01T09:05:00Z", "window_seconds": 300,
    "group": {"session": SESSION_ARN}, "principal": {"session": SESSION_ARN}, "evidence": {},
}  # fmt: skip


def run(*args, cwd, code=0):
    done = subprocess.run(
        [BUCKETWATCH, "investigate", *map(str, args)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with logs in which somebody read objects of hostile names, and his `loss`."""
    folder = tmp_path_factory.mktemp("investigate")
    made = [
        record(
            eventID=f"e-{number}", userAgent=f"[{HOSTILE}]",
            resources=[{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::ml-voice/{key}"}],
        )
        for number, key in enumerate(KEYS)
    ]  # fmt: skip
    other = assumed_role(principalId="AROAOTHER:trainer", arn=SESSION_ARN.replace("contractor-42", "trainer"))
    made.append(record(eventID="other", userIdentity=other, sourceIPAddress="10.0.0.1"))
    (folder / "logs").mkdir()
    (folder / "logs" / "a.json").write_bytes(file_of(made))
    (folder / "findings.jsonl").write_text(json.dumps(FINDING) + "\n")
    (folder / "broken.jsonl").write_text(json.dumps(FINDING | {"finding_id": "3" * 16, "principal": "x"}) + "\n")
    run(SESSION_ARN, "logs", "--owner", "{contractor}/**", "--cache", "kept", cwd=folder)
    return folder


@pytest.mark.parametrize("name", ["events.parquet", "objects.csv", "people.csv", "report.html"])
def test_a_full_disk_is_told_with_its_place(place, name):
    """Whichever file it is that the disk does not take: what, where, what to do; no half of a file is left."""
    out = place / f"full-{name}"
    out.mkdir()
    (out / f"{name}.part").symlink_to("/dev/full")
    done = run(SESSION_ARN, "logs", "--cache", "kept", "--out", out.name, cwd=place, code=2)
    assert "No space left on device" in done.stderr
    assert out.name in done.stderr
    assert "--out" in done.stderr
    assert [*out.iterdir()] == []


def test_all_files_are_written_and_agree(place):
    """The same objects in Parquet and CSV, the same people and sums in all."""
    loss = place / "loss"
    assert {path.name for path in loss.iterdir()} == {
        "objects.parquet", "objects.csv", "events.parquet", "people.csv", "summary.json", "notification.md",
        "report.html",
    }  # fmt: skip
    summary = json.loads((loss / "summary.json").read_text("ascii"))
    assert sorted(pq.read_table(loss / "objects.parquet")["key"].to_pylist()) == sorted(KEYS)
    assert pq.read_table(loss / "events.parquet")["because"].to_pylist() == ["who"] * 4
    assert (summary["objects"], summary["owners"]["count"], summary["people_count"]) == (4, 4, 1)
    assert summary["logs"]["access_events"] == 5
    assert "4 objects of 4 owners" in (loss / "notification.md").read_text("utf-8")


def test_no_name_of_a_log_is_a_formula_or_another_line(place):
    rows = list(csv.reader((place / "loss" / "objects.csv").open(encoding="utf-8", newline="")))
    assert [len(row) for row in rows] == [len(rows[0])] * 5
    cells = [cell for row in rows for cell in row]
    assert any(HOSTILE in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in FORMULA and not cell[1:].isdecimal()]
    assert not [cell for cell in cells if not cell.isprintable()]


def test_no_name_of_a_log_is_a_part_of_the_page_or_of_the_summary(place):
    page = (place / "loss" / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    told = (place / "loss" / "notification.md").read_text("utf-8")
    assert "\u202e" not in page + told
    assert f"`{HOSTILE}`" in told


def test_a_finding_is_looked_up_by_any_of_its_ids(place):
    for name in ("0123456789abcdef", "a-0123456789abcdef"):
        run(
            name, "logs", "--findings", "findings.jsonl", "--cache", "kept", "--out", "of-finding", "--quiet", cwd=place
        )
        summary = json.loads((place / "of-finding" / "summary.json").read_text())
        assert (summary["who"]["finding_id"], summary["objects"]) == ("0123456789abcdef", 4)


def test_an_incident_is_whom_its_findings_are_about(place):
    """Of a replay, whose incidents.jsonl lies beside its findings; of a daemon, whose alerts name their incident."""
    other = {"session": SESSION_ARN.replace("contractor-42", "trainer")}
    second = FINDING | {"finding_id": "1" * 16, "group": other, "principal": other}
    nobody = FINDING | {"finding_id": "2" * 16, "group": {"bucket": "b"}, "principal": None}
    found, ids = [FINDING, second, nobody], [FINDING["finding_id"], "1" * 16, "2" * 16]
    incident = "i-0123456789abcdef"
    replayed = place / "replayed"
    replayed.mkdir()
    (replayed / "findings.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))
    (replayed / "incidents.jsonl").write_text(json.dumps({"incident_id": incident, "findings": ids}) + "\n")
    alerts = [one | {"alert_id": f"a-{n:016x}", "incident_id": incident} for n, one in enumerate(found)]
    (place / "alerts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in alerts))
    for where in ("replayed/findings.jsonl", "alerts.jsonl"):
        run(incident, "logs", "--findings", where, "--cache", "kept", "--out", "of-incident", "--quiet", cwd=place)
        summary = json.loads((place / "of-incident" / "summary.json").read_text())
        assert (summary["who"]["kind"], summary["who"]["names"]) == ("incident", [SESSION_ARN, other["session"]])
        assert (summary["people_count"], summary["objects"]) == (2, 5)
        assert pq.read_table(place / "of-incident" / "events.parquet")["because"].to_pylist() == ["who"] * 5
    assert f"What `{incident}` took" in (place / "of-incident" / "notification.md").read_text("utf-8")
    (replayed / "findings.jsonl").write_text(json.dumps(second) + "\n")
    shown = run(
        incident, "logs", "--findings", "replayed/findings.jsonl", "--cache", "kept", "--out", "half", cwd=place
    )
    summary = json.loads((place / "half" / "summary.json").read_text())
    assert (summary["people_count"], summary["who"]["findings_lost"]) == (1, [ids[0], ids[2]])
    assert ids[0] in shown.stdout
    (replayed / "findings.jsonl").write_text("\n")
    (replayed / "incidents.jsonl").write_text(json.dumps({"incident_id": incident, "findings": ["\ud800"]}) + "\n")
    run(incident, "logs", "--findings", "replayed/findings.jsonl", "--out", "none", cwd=place, code=2)


def test_a_script_gets_json_and_nothing_else(place):
    done = run(ROLE_ARN, "logs", "--json", "--out", "as-json", "--redact-keys", "hash", cwd=place)
    assert json.loads(done.stdout) == json.loads((place / "as-json" / "summary.json").read_text())
    assert "a.wav" not in done.stdout + (place / "as-json" / "objects.csv").read_text("utf-8")
    assert run(SESSION_ARN, "logs", "--quiet", "--out", "q", cwd=place).stdout == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("contractor-42", "logs"), "--as"),
        (("contractor-42", "logs", "--as", "someone"), "expected one of"),
        ((SESSION_ARN.replace("42", "43"), "logs"), SESSION_ARN),
        ((f"{SESSION_ARN}\udcff", "logs"), "\\udcff"),
        ((SESSION_ARN, "nowhere"), "no such file or folder"),
        ((SESSION_ARN, "logs", "--owner", "plain/**"), "--owner"),
        ((SESSION_ARN, "logs", "--since", "soon"), "--since"),
        ((SESSION_ARN, "logs", "--redact-keys", "all"), "--redact-keys"),
        (("0123456789abcdee", "logs", "--findings", "findings.jsonl"), "no alert or finding"),
        (("0123456789abcdef", "logs"), "out/findings.jsonl"),
        (("i-0123456789abcdee", "logs", "--findings", "findings.jsonl"), "no alert or finding is of this incident"),
        (("i-0123456789abcdee", "logs", "--findings", "."), "a directory"),
        (("3" * 16, "logs", "--findings", "broken.jsonl"), "this is no finding"),
        ((SESSION_ARN, "logs", "--cache", "kept", "--tmp", "nowhere"), "nowhere: cannot write here"),
        ((SESSION_ARN, "findings.jsonl"), "findings.jsonl"),
    ],
)
def test_what_a_person_should_mend_is_status_2_and_says_what(place, args, said):
    assert said in run(*args, "--out", "wrong", cwd=place, code=2).stderr


def test_nothing_half_is_left_where_nobody_was_found(place):
    run("arn:aws:iam::111122223333:user/nobody", "logs", "--out", "nobody", cwd=place, code=2)
    assert list((place / "nobody").iterdir()) == []


def test_the_same_in_a_notebook(place):
    loss = scope_of_loss(SESSION_ARN, place / "logs", owner="{contractor}/**", cache=place / "kept")
    assert sorted(loss.objects["key"]) == sorted(KEYS)
    assert loss.events["because"].tolist() == ["who"] * 4
    assert loss.people["objects"].tolist() == [4]
    assert str(loss.people["first"].dt.tz) == "UTC"
    assert loss.summary["objects"] == 4


@needs_real_logs
def test_the_theft_of_the_readme_from_its_first_alert_to_the_list_of_objects(tmp_path):
    """The commands of the page as they stand there, and what the page says of their outcome."""
    shutil.copytree(
        REAL_LOGS / "cloudtrail" / "otrf", tmp_path / "otrf", ignore=shutil.ignore_patterns("*.csv", "*.jsonl")
    )
    [commands] = [block.text for block in blocks(README) if block.note == "otrf"]
    environment = {"PATH": f"{BUCKETWATCH.parent}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "otrf-loss" / "summary.json").read_text())
    [found] = pq.read_table(tmp_path / "otrf-loss" / "objects.parquet").to_pylist()
    assert (found["key"], found["reads"], found["bytes"], found["source_ips"]) == ("ring.txt", 2, 178, ["1.2.3.4"])
    assert [f"{found[name]:%H:%M:%S}" for name in ("first", "last")] == ["01:02:34", "01:13:20"]
    assert {one["api"]: one["requests"] for one in summary["acts"]} == {
        "GetObject": 2,
        "ListBuckets": 2,
        "ListObjects": 7,
    }
    assert [(one["caller"], one["followed"]) for one in summary["followed"]["callers"]] == [
        ("service:ec2.amazonaws.com", False)
    ]
    assert (summary["followed"]["chain"], summary["copied_to"], summary["denied"]) == ([], [], [])
