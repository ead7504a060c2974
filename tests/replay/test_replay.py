"""`bucketwatch replay`, run as its user runs it: the contract's files, books, identities, and answers to bad input."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import xxhash
from pyarrow import parquet

from detector.core.builder import BatchBuilder
from detector.core.times import epoch
from detector.errors import UnreadablePathError
from detector.logs import cloudtrail
from detector.logs.parquet import FIXED_COLUMNS, to_table
from detector.rules import load_book, shipped
from replay import replay
from replay.example_day import burst
from replay.output import rejected
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import record as cloudtrail_record

BUCKETWATCH = Path(sys.executable).with_name("bucketwatch")
T0 = 1_777_626_000


def run(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([BUCKETWATCH, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def put(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), mtime=0))
    return path


def theft(folder: Path) -> list[dict[str, Any]]:
    """12,500 objects by one session in 240 s among other traffic, in shuffled files."""
    records = burst("contractor-42", 12_500, 240, T0) + burst(
        "contractor-07", 3000, 900, T0, prefix="raw/contractor-07/"
    )
    random.Random(1).shuffle(records)
    for i in range(10):
        put(folder / f"{i}.json.gz", records[i::10])
    return records


def balanced(s: dict[str, Any]) -> bool:
    return s["records"] == s["access_events"] + s["duplicates"] + s["skipped"]["count"] + s["rejected"]["count"]


def test_a_theft_of_12500_objects_in_240_seconds_is_one_finding_of_the_session_rule(tmp_path):
    """Exactly one, with the right opening and peak; its evidence counts every record once."""
    logs, out = tmp_path / "logs", tmp_path / "out"
    logs.mkdir()
    records = theft(logs)
    run("replay", logs, "--out", out, "--quiet")
    mine = sorted(epoch(r["eventTime"]) for r in records if "contractor-42" in json.dumps(r["userIdentity"]))
    (finding,) = [f for f in lines(out / "findings.jsonl") if f["rule_id"] == "bulk-object-read-session"]
    assert finding["state"] == "closed"
    assert epoch(finding["opened_at"]) == mine[9_999]
    assert (finding["peak_value"], epoch(finding["peak_at"]), epoch(finding["last_at"])) == (12_500, mine[-1], mine[-1])
    assert finding["group"]["session"].endswith("/contractor-42")
    assert finding["principal"]["session"] == finding["group"]["session"]
    assert finding["evidence"]["requests"] == finding["evidence"]["objects"] == 12_500
    size = sum(
        int(r["additionalEventData"]["bytesTransferredOut"]) for r in records if r["userIdentity"]["arn"].endswith("42")
    )
    assert finding["evidence"]["bytes"] == size
    assert len(finding["evidence"]["sample_keys"]) == 20
    assert balanced(summary(out))


def test_twenty_thousand_objects_in_fifteen_minutes_are_no_finding(tmp_path):
    """6,667 in any five minutes is under the threshold, however much it adds up to."""
    put(tmp_path / "a.json.gz", burst("contractor-42", 20_000, 900, T0))
    run("replay", tmp_path / "a.json.gz", "--out", tmp_path / "out", "--quiet", "--no-model")
    assert lines(tmp_path / "out/findings.jsonl") == []


def test_any_order_split_and_repetition_of_the_logs_gives_the_same_bytes(tmp_path):
    """Findings and coverage are the same for shuffled, repeated and differently cut files, and for two processes."""
    records = theft(tmp_path)
    answers = set()
    for seed, jobs in ((0, 1), (1, 1), (2, 2)):
        logs, out = tmp_path / f"l{seed}", tmp_path / f"o{seed}"
        logs.mkdir()
        shuffler = random.Random(seed)
        mixed = records + shuffler.choices(records, k=500 * seed)
        shuffler.shuffle(mixed)
        for i in range(seed * 3 + 1):
            put(logs / f"{shuffler.random()}.json.gz", mixed[i :: seed * 3 + 1])
        run("replay", logs, "--out", out, "--quiet", "--jobs", jobs)
        answers.add(((out / "findings.jsonl").read_bytes(), json.dumps(summary(out)["coverage"])))
        assert summary(out)["duplicates"] == 500 * seed
    assert len(answers) == 1


def test_five_thousand_small_files_are_what_fifty_large_ones_are(tmp_path):
    """Also read by two processes; and every file is counted."""
    records = burst("contractor-42", 12_500, 240, T0)
    random.Random(3).shuffle(records)
    found = []
    for name, count, jobs in (("small", 5000, 2), ("large", 50, 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            put(tmp_path / name / f"{i}.json.gz", records[i::count])
        out = tmp_path / f"{name}-out"
        run("replay", tmp_path / name, "--out", out, "--jobs", jobs, "--no-report", "--quiet")
        assert summary(out)["files"] == count
        assert summary(out)["records"] == len(records)
        assert balanced(summary(out))
        found.append((out / "findings.jsonl").read_bytes())
    assert found[0] == found[1] != b""


def test_memory_makes_no_difference_to_what_is_written(tmp_path):
    """With next to no memory, and files in --tmp instead: the same output, byte for byte. No file is left."""
    logs, tmp = tmp_path / "logs", tmp_path / "tmp"
    for folder in (logs, tmp):
        folder.mkdir()
    theft(logs)
    for name in ("y.json.gz", "x.json.gz"):
        broken = put(logs / name, burst(name, 100, 60, T0))
        broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 2 // 3])
    for out, options in (("roomy", ()), ("tight", ("--memory", "64K", "--tmp", tmp, "--jobs", 2))):
        run("replay", logs, "--out", tmp_path / out, "--no-report", *options, code=2)
    for name in ("findings.jsonl", "rejected.jsonl"):
        assert (tmp_path / "tight" / name).read_bytes() == (tmp_path / "roomy" / name).read_bytes() != b""
    assert not list(tmp.iterdir())


def test_a_broken_gzip_is_counted_up_to_its_break_and_named(tmp_path):
    """Exit status 2 with the file and what to do; its good part and every other file are in the output."""
    logs = tmp_path / "logs"
    logs.mkdir()
    put(logs / "whole.json.gz", burst("a", 100, 60, T0))
    broken = put(logs / "broken.json.gz", burst("b", 100, 60, T0))
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 2 // 3])
    done = run("replay", logs, "--out", tmp_path / "out", code=2)
    s = summary(tmp_path / "out")
    assert "broken.json.gz: broken gzip" in done.stderr
    assert [f["file"] for f in s["files_damaged"]] == [str(broken)]
    assert 100 < s["access_events"] < 200
    assert s["rejected"]["count"] == 1
    assert lines(tmp_path / "out/rejected.jsonl")[0]["file"] == str(broken)
    assert balanced(s)


def test_broken_json_costs_only_the_broken_record(tmp_path):
    """The records before and after a broken one count; the break is in rejected.jsonl with its position."""
    records = [json.dumps(record) for record in burst("a", 10, 10, T0)]
    records[4] = records[4].replace('"eventName":', '"eventName"')
    path = tmp_path / "a.json"
    path.write_text('{"Records": [' + ", ".join(records) + "]}")
    run("replay", path, "--out", tmp_path / "out", code=2)
    s = summary(tmp_path / "out")
    assert (s["access_events"], s["rejected"]["count"]) == (9, 1)
    (reject,) = lines(tmp_path / "out/rejected.jsonl")
    assert (reject["reason"], reject["position"]) == ("broken_json", 5)
    assert balanced(s)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing", None, "no such file or folder"),
        ("notes.txt", b"hello\n", "no known log"),
        ("empty.json", b"", "empty"),
        ("a.json", b'{"a": 1}', "neither CloudTrail records"),
    ],
)
def test_a_path_named_outright_that_is_no_log_is_the_users_mistake(tmp_path, name, content, told):
    """Exit status 2, one line that says what and where; no stack trace."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = run("replay", tmp_path / name, "--out", tmp_path / "out", code=2)
    assert told in done.stderr
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_what_could_be_read_is_written_before_a_mistake_is_told(tmp_path):
    """One path of several is no log: exit status 2, and the findings of the others are there."""
    put(tmp_path / "a.json.gz", burst("a", 10_000, 60, T0))
    (tmp_path / "notes.txt").write_text("hello\n")
    run("replay", tmp_path / "a.json.gz", tmp_path / "notes.txt", "--out", tmp_path / "out", code=2)
    assert len(lines(tmp_path / "out/findings.jsonl")) == 2
    run("replay", tmp_path / "*", "--out", tmp_path / "globbed")


def test_what_cannot_be_written_in_the_end_is_told_with_its_place(tmp_path):
    """The folder could be written to at first: exit status 2 and what to do, no stack trace."""
    put(tmp_path / "a.json.gz", burst("a", 5, 5, T0))
    (tmp_path / "out/findings.jsonl").mkdir(parents=True)
    done = run("replay", tmp_path / "a.json.gz", "--out", tmp_path / "out", code=2)
    assert "findings.jsonl: cannot write here: Is a directory" in done.stderr
    assert "--out" in done.stderr
    (tmp_path / "rejected.jsonl").mkdir()
    with pytest.raises(UnreadablePathError, match=r"rejected.jsonl: cannot write here"), rejected(tmp_path):
        pass


def test_a_file_may_be_called_anything(tmp_path):
    """A name that is no UTF-8, or that would write on the terminal, stops nothing and writes nothing."""
    logs = tmp_path / "logs"
    logs.mkdir()
    put(logs / "a.json.gz", burst("a", 5, 5, T0))
    (Path(os.fsdecode(bytes(logs) + b"/\xff\x1b[31m.txt"))).write_text("hello\n")
    (Path(os.fsdecode(bytes(logs) + b"/\xfe\x1b[31m.json"))).write_text('{"Records": [{"eventName": }]}')
    done = run("replay", logs, "--out", tmp_path / "out", code=2)
    assert "\x1b" not in done.stdout + done.stderr
    s = summary(tmp_path / "out")
    assert (s["access_events"], len(s["files_ignored"]), len(s["files_damaged"])) == (5, 1, 1)
    assert (s["files_ignored_count"], s["files_damaged_count"]) == (1, 1)
    assert "\x1b" not in (tmp_path / "out/report.html").read_text()


def test_a_rules_folder_of_this_directory_is_that_folder(tmp_path):
    """--rules . means the rules here, not the shipped ones."""
    put(tmp_path / "a.json.gz", burst("a", 5, 5, T0))
    (tmp_path / "r.yaml").write_text("rules: []\n")
    done = subprocess.run(
        [BUCKETWATCH, "replay", "a.json.gz", "--rules", "."], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "no rules in here" in done.stderr) == (2, True)


def test_parquet_without_a_column_is_never_a_silent_no_match(tmp_path):
    """Rules that ask for what the file lacks are listed; identities group as they do in the raw logs."""
    builder = BatchBuilder()
    assert cloudtrail.parse(
        json.dumps({"Records": burst("a", 50, 50, T0) + burst("b", 50, 50, T0)}).encode(), "n", builder
    )
    table = to_table(builder.build()).select(list(FIXED_COLUMNS))
    parquet.write_table(table, tmp_path / "a.parquet")
    put(tmp_path / "a.json.gz", burst("a", 50, 50, T0) + burst("b", 50, 50, T0))
    rule = "  - {{id: by-{0}, title: t, severity: low, kind: threshold, group_by: {1}, measure: objects, window: 5m,"
    levels = ("session", "role", "vpc_endpoint")
    rules = "".join(rule.format(by.replace("_", "-"), by) + " threshold: 50}\n" for by in levels)
    (tmp_path / "r.yaml").write_text("rules:\n" + rules)
    found = {}
    for name in ("a.json.gz", "a.parquet"):
        run("replay", tmp_path / name, "--rules", tmp_path / "r.yaml", "--out", tmp_path / name[2:], "--quiet")
        found[name] = [(f["finding_id"], f["peak_value"]) for f in lines(tmp_path / name[2:] / "findings.jsonl")]
    assert found["a.json.gz"] == found["a.parquet"]
    assert len(found["a.parquet"]) == 3
    listed = summary(tmp_path / "parquet")["rules_not_evaluated"]
    assert listed == [{"rule_id": "by-vpc-endpoint", "log": "parquet", "missing": ["vpc_endpoint"]}]


def test_inside_a_folder_such_a_file_is_listed_and_passed_over(tmp_path):
    """Dot-files, *.part and *.tmp are not even looked at."""
    logs = tmp_path / "logs"
    logs.mkdir()
    put(logs / "a.json.gz", burst("a", 5, 5, T0))
    for name in ("notes.txt", ".hidden", "b.json.part", "c.tmp"):
        (logs / name).write_bytes(b"hello\n")
    run("replay", logs, "--out", tmp_path / "out")
    s = summary(tmp_path / "out")
    assert [(Path(f["file"]).name, "no known log" in f["reason"]) for f in s["files_ignored"]] == [("notes.txt", True)]
    assert (s["files"], s["records"]) == (1, 5)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--rules", "nowhere"], "nowhere: no such file or folder"),
        (["--since", "yesterday"], "--since: expected a time such as"),
        (["--prefer", "x"], "--prefer: expected GLOB=cloudtrail"),
        (["--redact-keys", "all"], "--redact-keys: expected none, prefix or hash"),
        (["--memory", "lots"], "--memory: expected a size such as 256M, got 'lots'"),
        (["--jobs", "0"], "--jobs"),
        (["--since", "2026-05-02", "--until", "2026-05-01"], "is not before --until"),
    ],
)
def test_a_wrong_option_says_what_was_expected(tmp_path, args, told):
    """Exit status 2."""
    put(tmp_path / "a.json.gz", burst("a", 5, 5, T0))
    assert told in run("replay", tmp_path / "a.json.gz", "--out", tmp_path / "out", *args, code=2).stderr


def test_an_empty_folder_is_said(tmp_path):
    """Nothing to read is never a silent success."""
    (tmp_path / "logs").mkdir()
    assert "empty folder" in run("replay", tmp_path / "logs", "--out", tmp_path / "out", code=2).stderr


def test_since_and_until_cut_the_period_and_keep_the_books(tmp_path):
    """Records outside are skipped with that reason."""
    put(tmp_path / "a.json.gz", burst("a", 100, 100, T0))
    period = ("--since", "2026-05-01T09:00:10Z", "--until", "2026-05-01T09:00:20Z")
    run("replay", tmp_path / "a.json.gz", "--out", tmp_path / "out", *period)
    s = summary(tmp_path / "out")
    assert s["skipped"]["by_reason"] == {"outside_period": 100 - s["access_events"]}
    assert 9 <= s["access_events"] <= 11


def test_a_script_gets_the_summary(tmp_path):
    """On stdout, as JSON and nothing beside it; no progress where nobody looks."""
    theft(tmp_path)
    done = run("replay", tmp_path, "--out", tmp_path / "out", "--no-report", "--json", "--fail-on-finding", code=3)
    assert json.loads(done.stdout) == summary(tmp_path / "out")
    assert not done.stderr


def test_findings_can_fail_a_script(tmp_path):
    """--fail-on-finding: exit status 3."""
    put(tmp_path / "a.json.gz", burst("a", 10_000, 60, T0))
    run("replay", tmp_path / "a.json.gz", "--out", tmp_path / "out", "--fail-on-finding", "--quiet", code=3)


def test_object_keys_can_be_kept_out_of_the_output(tmp_path):
    """--redact-keys hash: no key is in any file."""
    put(tmp_path / "a.json.gz", burst("a", 10_000, 60, T0, prefix="raw/secret-speaker/"))
    run("replay", tmp_path / "a.json.gz", "--out", tmp_path / "out", "--redact-keys", "hash", "--quiet")
    assert not any(b"secret-speaker" in path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_a_notebook_gets_a_data_frame(tmp_path):
    """One row a finding; times are UTC timestamps."""
    put(tmp_path / "a.json.gz", burst("a", 10_000, 60, T0))
    frame = replay(tmp_path / "a.json.gz", model=False)
    assert list(frame.rule_id) == ["bulk-object-read-role", "bulk-object-read-session"] or len(frame) == 2
    assert str(frame.opened_at.dt.tz) == "UTC"


@needs_real_logs
def test_invictus_agrees_with_its_oracle(tmp_path):
    """2,900 records of real management events: books, times and duplicates as counted in SQL."""
    oracle = json.loads((REAL_LOGS / "expected/invictus.oracle.json").read_text())
    run("replay", REAL_LOGS / "cloudtrail/invictus", "--out", tmp_path, "--quiet")
    s = summary(tmp_path)
    assert (s["records"], s["duplicates"], s["rejected"]["count"]) == (2900, oracle["duplicates"], 0)
    assert (epoch(s["first_event_time"]), epoch(s["last_event_time"])) == (oracle["first"], oracle["last"])
    assert balanced(s)


@needs_real_logs
def test_every_real_log_replays_without_a_reject(tmp_path):
    """All real logs in one run: nothing rejected, the books balance, the CSV is passed over with its reason."""
    run("replay", REAL_LOGS / "cloudtrail", REAL_LOGS / "s3access", "--out", tmp_path, "--quiet")
    s = summary(tmp_path)
    assert s["rejected"]["count"] == 0, lines(tmp_path / "rejected.jsonl")
    assert s["files_damaged"] == []
    assert {Path(f["file"]).suffix for f in s["files_ignored"]} <= {".csv", ".jsonl"}
    assert balanced(s)


RULE = """\
rules:
  - {{id: every-read, title: t, severity: low, kind: threshold, where: {{operation: GetObject}}, group_by: {by},
     measure: {measure}, window: {window}, threshold: 1}}
"""


@needs_real_logs
@pytest.mark.parametrize("window", [10, 60, 300, 600])
def test_the_stolen_instance_role_agrees_with_its_oracle(tmp_path, window):
    """OTRF's theft: reads per principal, distinct objects, bytes, first and last read, and the peak in every window."""
    name = "otrf_ec2_proxy_s3_exfiltration_2020-09-14011940.oracle.json"
    oracle = json.loads((REAL_LOGS / "expected" / name).read_text())
    log = REAL_LOGS / "cloudtrail/otrf/ec2_proxy_s3_exfiltration_2020-09-14011940.json.gz"
    (tmp_path / "whole.yaml").write_text(RULE.format(by="session", measure="requests", window="1h"))
    (tmp_path / "r.yaml").write_text(RULE.format(by="session", measure="requests", window=f"{window}s"))
    run("replay", log, "--rules", tmp_path / "r.yaml", "--out", tmp_path, "--quiet")
    run("replay", log, "--rules", tmp_path / "whole.yaml", "--out", tmp_path / "whole", "--quiet")
    peaks = {f["group"]["session"]: f["peak_value"] for f in lines(tmp_path / "findings.jsonl")}
    assert [list(pair) for pair in peaks.items()] == oracle[f"peak_getobject_{window}s"]
    (whole,) = lines(tmp_path / "whole/findings.jsonl")
    evidence = whole["evidence"]
    figures = [
        evidence["requests"],
        evidence["objects"],
        evidence["bytes"],
        epoch(whole["opened_at"]),
        epoch(whole["last_at"]),
    ]
    assert [[whole["group"]["session"], *figures]] == oracle["getobject_by_principal"]
    s = summary(tmp_path)
    assert (s["records"], s["duplicates"]) == (oracle["records"], oracle["duplicates"])
    assert (epoch(s["first_event_time"]), epoch(s["last_event_time"])) == (oracle["first"], oracle["last"])


@needs_real_logs
def test_the_dandi_lines_agree_with_theirs(tmp_path):
    """Real access-log lines of the hard kind: the objects read and their readers, as others extracted them."""
    oracle = json.loads((REAL_LOGS / "expected/dandi.extraction.json").read_text())
    (tmp_path / "r.yaml").write_text(RULE.format(by="[bucket, source_ip]", measure="objects", window="30d"))
    run("replay", REAL_LOGS / "s3access/dandi.log", "--rules", tmp_path / "r.yaml", "--out", tmp_path, "--quiet")
    s = summary(tmp_path)
    assert (s["records"], s["rejected"]["count"]) == (24, 0)
    assert balanced(s)
    found = lines(tmp_path / "findings.jsonl")
    assert {f["group"]["source_ip"] for f in found} == {ip for one in oracle.values() for ip in one["ips"]}
    keys = {key for f in found for key in f["evidence"]["sample_keys"]}
    assert {key for key, one in oracle.items() if one["bytes_sent"] != ["0"]} <= keys


def test_limits_are_the_users_to_set(tmp_path):
    """A line past --limit line costs only itself and names the limit; a limit that does not exist is a mistake."""
    request = '"GET /k HTTP/1.1" 200 - 1 1 1 1 "-" "a" -'
    made = [f"o voice [01/May/2026:12:00:00 +0000] 192.0.2.7 - {number} REST.GET.OBJECT k {request}" for number in "12"]
    (tmp_path / "a.log").write_text(f"{made[0]}\n{made[1]}{'x' * 1000}\n")
    run("replay", tmp_path / "a.log", "--out", tmp_path / "out", "--limit", "line=1K", "--quiet")
    (reject,) = lines(tmp_path / "out/rejected.jsonl")
    assert (reject["position"], reject["reason"]) == (2, "line_too_long")
    assert "limits.line is 1,024" in reject["detail"]
    done = run("replay", tmp_path / "a.log", "--out", tmp_path / "out", "--limit", "lines=1K", code=2)
    assert "--limit: expected inflated, record, nesting, line" in done.stderr
    done = run("replay", tmp_path / "a.log", "--out", tmp_path / "out", "--limit", "nesting=deep", code=2)
    assert "--limit nesting: expected a number of levels such as 100, got 'deep'" in done.stderr


def test_how_deep_a_record_may_be_nested_is_the_users_to_set(tmp_path):
    """A record past --limit nesting costs only itself and names the limit."""
    deep = json.dumps(cloudtrail_record(responseElements=[[[[[[]]]]]]))
    (tmp_path / "a.json").write_text(f"{json.dumps(cloudtrail_record())}\n{deep}\n")
    run("replay", tmp_path / "a.json", "--out", tmp_path / "out", "--limit", "nesting=6", "--quiet")
    (reject,) = lines(tmp_path / "out/rejected.jsonl")
    assert (reject["position"], reject["reason"], reject["detail"]) == (2, "too_deep", "7 levels; limits.nesting is 6")


SECRET = "raw/secret-key.wav"
BROKEN_AUDIT = [
    {"timestamp": f"at {SECRET}", "key": SECRET, "purpose": "x"},
    {"timestamp": "2026-05-01T09:00:00Z", "key": [SECRET], "purpose": "x"},
    {"timestamp": "2026-05-01T09:00:00Z", "key": SECRET, "purpose": "x"},
]
BROKEN_CLOUDTRAIL = [
    cloudtrail_record(eventTime=SECRET),
    cloudtrail_record(eventTime=[SECRET]),
    cloudtrail_record(eventID="whole"),
]


@pytest.mark.parametrize("redact", ["none", "hash"])
def test_what_is_said_of_rejected_records_shows_no_key_where_keys_are_redacted(tmp_path, redact):
    """Wherever in a broken record the key stands: as its time, in its middle, at its cut end."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in BROKEN_AUDIT) + f'{{"key": "{SECRET}')
    (tmp_path / "b.json").write_text(
        "".join(json.dumps(one) + "\n" for one in BROKEN_CLOUDTRAIL)
        + json.dumps(cloudtrail_record(requestParameters={"key": SECRET}))[:-30]
    )
    line = f'o voice [TIME] 192.0.2.7 - 2 REST.GET.OBJECT {SECRET} "GET /k HTTP/1.1" 200 - 1 1 1 1 "-" "a" -\n'
    times = ("01/May/2026:12:00:00 +0000", SECRET)
    (tmp_path / "c.log").write_text("".join(line.replace("TIME", time) for time in times) + line[:60])
    paths = [tmp_path / name for name in ("a.jsonl", "b.json", "c.log")]
    options = ("--out", tmp_path / "out", "--redact-keys", redact, "--quiet", "--no-model", "--no-report")
    run("replay", *paths, *options, code=2)
    told = (tmp_path / "out/rejected.jsonl").read_text()
    assert len(told.splitlines()) >= 6
    reasons = {one["reason"] for one in map(json.loads, told.splitlines())}
    assert {"bad_event_time", "bad_time", "no_object", "broken_json"} <= reasons
    assert ("secret" in told) == (redact == "none")


def test_every_file_read_is_listed_with_its_checksum(tmp_path):
    """SHA-256 where it is compressed, as in CloudTrail's own digests; the list's own stands in the summary."""
    (tmp_path / "logs").mkdir()
    put(tmp_path / "logs/a.json.gz", burst("a", 5, 5, T0))
    plain = json.dumps({"Records": burst("b", 5, 5, T0)}).encode()
    (tmp_path / "logs/b.json").write_bytes(plain)
    run("replay", tmp_path / "logs", "--out", tmp_path / "out", "--no-report")
    first, second = lines(tmp_path / "out/inputs.jsonl")
    content = (tmp_path / "logs/a.json.gz").read_bytes()
    assert first == {
        "file": str(tmp_path / "logs/a.json.gz"), "bytes": len(content), "kind": "cloudtrail",
        "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }  # fmt: skip
    assert second["checksum"] == f"xxh128:{xxhash.xxh3_128_hexdigest(plain)}"
    listed = hashlib.sha256((tmp_path / "out/inputs.jsonl").read_bytes()).hexdigest()
    assert summary(tmp_path / "out")["inputs_sha256"] == listed
    run("replay", tmp_path / "logs", "--out", tmp_path / "again", "--no-report", "--cache", tmp_path / "cache")
    run("replay", tmp_path / "logs", "--out", tmp_path / "again", "--no-report", "--cache", tmp_path / "cache")
    assert summary(tmp_path / "again")["inputs_sha256"] == listed


def test_the_summary_tells_which_rules_were_asked(tmp_path):
    put(tmp_path / "a.json.gz", burst("a", 5, 5, T0))
    run("replay", tmp_path / "a.json.gz", "--out", tmp_path / "out", "--no-report")
    told = summary(tmp_path / "out")
    rules = load_book(shipped()).rules
    assert [(one["rule_id"], one["digest"]) for one in told["rules"]] == [(rule.id, rule.digest()) for rule in rules]
    assert sum(one["findings"] for one in told["rules"]) == told["findings"]
    assert told["version"] == version("bucketwatch")
