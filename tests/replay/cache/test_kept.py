"""The cache of parsed records: a replay that reads it finds and counts what one that reads the logs does."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from detector.core.access import COLUMNS
from detector.errors import EdgeError, InputError
from detector.rules import load_rules
from replay import RECORD, reader, records, replay
from replay import run as replay_run
from replay.arguments import admission
from replay.cache import partfiles, parts
from replay.cache.kept import MANIFEST, VERSION, kept
from replay.options import Options
from replay.run import run
from tests.real_logs import REAL_LOGS, needs_real_logs
from tests.records import record

FEW_COLUMNS = """
rules:
- {id: a, title: a, severity: high, kind: threshold, where: {operation: read}, group_by: session, measure: objects,
   window: 1m, threshold: 20}
- {id: b, title: b, severity: low, kind: threshold, where: {operation: read, outcome: any}, group_by: source_ip,
   measure: requests, window: 2m, threshold: 20}
"""
MORE_COLUMNS = f"""{FEW_COLUMNS}
- {{id: c, title: c, severity: high, kind: match, where: {{operation: read, user_agent: ["a*"]}}, group_by: session}}
- {{id: d, title: d, severity: high, kind: match, where: {{operation: read, tls: ["TLSv1.1"]}}, group_by: session}}
"""
FOREIGN = {"type": "AWSAccount", "principalId": "AROAFOREIGNROLEID001:etl", "accountId": "444455556666"}


def one(rng: random.Random, ids: int = 300):
    """A record with an id of few: most are copies of others, and many of those differ."""
    n = rng.randrange(ids)
    made = {
        "eventID": f"e-{n}",
        "eventTime": f"2026-05-01T09:{n // 60:02d}:{n % 60:02d}Z",
        "resources": [{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::ml-voice/raw/{n}.wav"}],
    }
    tls = {"tlsDetails": {"tlsVersion": f"TLSv1.{rng.randrange(3)}"}}
    other = [{"userIdentity": FOREIGN}, {"userAgent": rng.choice("abc")}, tls, {"eventSource": "ec2.amazonaws.com"}]
    made |= rng.choice([{}, {}, {}, *other])
    link = {"additionalEventData": {"x-amz-id-2": f"link-{n // 10}"}}
    if n % 10 == 0:
        source = {"bucketName": "elsewhere", "key": "x", "x-amz-copy-source": f"ml-voice/raw/{n}.wav"}
        return record("CopyObject", **made, **link, requestParameters=source)
    if n % 10 == 1:
        return record(**made, **link, sourceIPAddress="AWS Internal") | {"userAgent": "AWS Internal"}
    return record(**made)


def put(path: Path, seed: int, count: int = 30) -> None:
    rng = random.Random(seed)
    records = [one(rng) for _ in range(count)] + [{"eventVersion": "1.0"}] * (seed % 2)
    path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), mtime=0))


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(16):
        put(folder / f"{number:02}.json.gz", number)
    (folder / "cut.json.gz").write_bytes((folder / "00.json.gz").read_bytes()[:-200])
    (folder / "note.txt").write_text("no log")
    return folder


@pytest.fixture
def rules(tmp_path):
    def load(text: str):
        (tmp_path / "rules.yaml").write_text(text)
        return load_rules(tmp_path / "rules.yaml")

    return load


@pytest.fixture(params=[20, 1 << 19], ids=["many parts", "one part"])
def small(request, monkeypatch):
    """Parts of few records, row groups of fewer, several to a part and to a piece, and chunks of three files."""
    monkeypatch.setattr(parts, "ROWS", request.param)
    monkeypatch.setattr(partfiles, "GROUP", 16)
    monkeypatch.setattr(reader, "CHUNK_FILES", 3)


def replayed(paths: Path, rules, cache: Path | None = None, **how):
    """All that a replay writes, and what it told."""
    rejects: list[object] = []
    told: list[str] = []

    def take(more):
        if more is None:
            rejects.clear()
        else:
            rejects.extend(map(astuple, more))

    result = run([str(paths)], rules, Options(rejects=take, cache=cache, tell=told.append, **how))
    summary = {name: value for name, value in result.summary.items() if name != "wall_seconds"}
    return ([finding.to_json() for finding in result.findings], summary, rejects), told


def test_a_cached_replay_is_the_replay(logs, rules, tmp_path, small):
    """Whatever the rules look at, and whether the cache was just made, was there, or lacked some files: all the same.

    Copies of one id differ, in what rules look at and in what they do not; reads come before the copy they belong to.
    """
    cache = tmp_path / "cache"
    for text in (FEW_COLUMNS, MORE_COLUMNS):
        whole, _ = replayed(logs, rules(text))
        assert whole[0]
        assert whole[1]["duplicates_differing"] > 50
        assert whole[1]["skipped"]["by_reason"].keys() == {"internal_read_of_copy", "not_s3"}
        for _ in range(2):
            found, told = replayed(logs, rules(text), cache)
            assert found == whole
            assert not told
    put(logs / "07-late.json.gz", 99)
    whole, _ = replayed(logs, rules(MORE_COLUMNS))
    found, told = replayed(logs, rules(MORE_COLUMNS), cache)
    assert (found[0], found[1], sorted(found[2])) == (whole[0], whole[1], sorted(whole[2]))
    assert told == ["18 of 19 log files are in the cache; the others are read now"]


def test_its_files_are_the_access_events(logs, rules, tmp_path, small, monkeypatch):
    """One row an event that a replay by all columns counts, whatever was cached first; the books are that replay's."""
    for folder in (None, tmp_path / "cache"):
        with kept([str(logs)], folder, Options()) as records:
            ids = records.dataset().to_table(columns=["event_id"])["event_id"].to_pylist()
            assert records.books.balance()
    monkeypatch.setattr(replay_run, "columns_of", lambda *_: COLUMNS)
    (_, summary, _), _ = replayed(logs, rules(FEW_COLUMNS))
    assert len(ids) == len(set(ids)) == summary["access_events"]
    for name in ("records", "access_events", "duplicates", "duplicates_differing", "unresolved_bucket"):
        assert getattr(records.books, name) == summary[name]
    assert records.books.skipped == summary["skipped"]["by_reason"]


def test_a_notebook_gets_records_and_findings_of_a_period(logs, tmp_path):
    """One row an event, in the order of time; asked twice out of one cache. A column that is none is the caller's."""
    period = {"since": "2026-05-01T09:01:00Z", "until": "2026-05-01T09:04:00Z", "cache": tmp_path / "cache"}
    whole, frame = records(logs), records(logs, ["time", "session", "event_id"], **period)
    inside = whole[(whole.time >= period["since"]) & (whole.time < period["until"])]
    assert [*whole.columns] == [*RECORD]
    assert len(whole) > len(inside) == len(frame) > 0
    assert frame.event_id.is_unique
    assert frame.time.is_monotonic_increasing
    (tmp_path / "rules.yaml").write_text(FEW_COLUMNS)
    found = replay(logs, tmp_path / "rules.yaml", **period)
    assert set(found.rule_id) == {"a", "b"}
    with pytest.raises(InputError, match="nonsense"):
        records(logs, ["nonsense"])


def test_another_period_is_another_question(logs, rules, tmp_path):
    cache = tmp_path / "cache"
    replayed(logs, rules(FEW_COLUMNS), cache)
    chosen = admission("2026-05-01T09:01:00Z", "2026-05-01T09:04:00Z", [])
    whole, _ = replayed(logs, rules(FEW_COLUMNS), admission=chosen)
    assert replayed(logs, rules(FEW_COLUMNS), cache, admission=chosen) == (whole, [])
    assert whole[1]["skipped"]["by_reason"]["outside_period"] > 0
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "harm",
    ["log", "gone", "manifest", "version", *[".parquet", ".ids", ".inputs", ".aside", ".sums", ".reads"]],
)
def test_what_does_not_fit_is_made_anew_and_that_is_said(logs, rules, tmp_path, harm):
    cache = tmp_path / "cache"
    replayed(logs, rules(MORE_COLUMNS), cache)
    (home,) = cache.iterdir()
    manifest = home / MANIFEST
    match harm:
        case "log":
            put(logs / "03.json.gz", 77)
        case "gone":
            (logs / "03.json.gz").unlink()
        case "manifest":
            manifest.write_bytes(manifest.read_bytes()[:-9])
        case "version":
            manifest.write_text(manifest.read_text().replace(f'"version": {VERSION}', '"version": 0'))
        case _:
            (path,) = (path for path in home.iterdir() if path.suffix == harm)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    whole, _ = replayed(logs, rules(MORE_COLUMNS))
    found, told = replayed(logs, rules(MORE_COLUMNS), cache)
    assert found == whole
    assert len(told) == 1
    assert "is made anew" in told[0]
    assert replayed(logs, rules(MORE_COLUMNS), cache) == (whole, [])
    assert sum(1 for path in home.iterdir() if path.suffix == ".parquet") == 1, "what was there before is gone"


@needs_real_logs
@pytest.mark.parametrize("folder", ["cloudtrail", "s3access"])
def test_real_logs_are_the_same_out_of_the_cache(tmp_path, folder):
    from detector.rules import shipped

    rules = load_rules(shipped())
    whole, _ = replayed(REAL_LOGS / folder, rules)
    for _ in range(2):
        assert replayed(REAL_LOGS / folder, rules, tmp_path)[0] == whole


AUDIT_RULE = f"""{MORE_COLUMNS}
- {{id: e, title: e, severity: high, kind: match, where: {{log: access_audit, purpose: ["train*"]}}, group_by: session}}
"""


def test_audit_logs_and_parquet_are_the_same_out_of_the_cache(logs, rules, tmp_path, small):
    """What an application tells, with copies and lines that cannot be read, and a Parquet file that lacks a column."""
    lines = [
        {"timestamp": f"2026-05-01T09:02:{n % 40:02d}Z", "user": f"app-{n % 3}", "bucket": "ml-voice",
         "key": f"raw/{n}.wav", "bytes": n, "purpose": "training", "event_id": f"a-{n % 50}"} for n in range(80)
    ]  # fmt: skip
    audit = "".join(json.dumps(line) + "\n" for line in [*lines, {"user": "nobody"}])
    (logs / "audit.jsonl").write_text(audit)
    table = parquet.read_table(kept_file(logs, tmp_path)).drop_columns(["tls", "prefix", "object"])
    ids = pc.binary_join_element_wise(table["event_id"].cast(pa.string()), pa.scalar("p"), "-")
    parquet.write_table(table.set_column(table.column_names.index("event_id"), "event_id", ids), logs / "p.parquet")
    whole, _ = replayed(logs, rules(AUDIT_RULE))
    assert {finding["rule_id"] for finding in whole[0]} >= {"a", "c", "e"}
    assert {"rule_id": "d", "log": "parquet", "missing": ["tls"]} in whole[1]["rules_not_evaluated"]
    assert whole[1]["rejected"]["by_reason"]["no_event_time"] == 9
    for _ in range(2):
        assert replayed(logs, rules(AUDIT_RULE), tmp_path / "cache")[0] == whole


def kept_file(logs: Path, tmp_path: Path) -> Path:
    """Access-record Parquet of these logs."""
    with kept([str(logs)], tmp_path / "other", Options()) as records:
        return records.files[0]


KILLED = """
import os, signal, sys
from pathlib import Path
from detector.rules import load_rules
from replay import reader
from replay.cache import kept, parts
from replay.options import Options
from replay.run import run
parts.ROWS, reader.CHUNK_FILES = 60, 2
wrote, save = [], kept._Making._save
def saving(making):
    save(making)
    wrote.append(1)
    if len(wrote) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
kept._Making._save = saving
run([sys.argv[1]], load_rules(Path(sys.argv[2])), Options(cache=Path(sys.argv[3])))
"""


def test_a_replay_that_was_killed_goes_on_where_it_stopped(logs, rules, tmp_path):
    """A real process, killed -9 after its third part: what it had parsed is not parsed again."""
    loaded, cache = rules(MORE_COLUMNS), tmp_path / "cache"
    command = [sys.executable, "-c", KILLED, str(logs), str(tmp_path / "rules.yaml"), str(cache)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    whole, _ = replayed(logs, loaded)
    found, told = replayed(logs, loaded, cache)
    assert found == whole
    assert told == ["6 of 18 log files are in the cache; the others are read now"]


def test_what_is_no_file_of_a_cache_does_not_matter(logs, rules, tmp_path):
    """A file that was left there is deleted; a folder is somebody's, and stays. Sums of all that are lost are made."""
    cache = tmp_path / "cache"
    whole, _ = replayed(logs, rules(FEW_COLUMNS), cache)
    (home,) = cache.iterdir()
    (home / "mine" / "notes").mkdir(parents=True)
    (home / "000001.parquet.tmp").write_text("half")
    [sums] = home.glob("*.whole")
    wanted = sums.read_bytes()
    sums.write_bytes(wanted[::-1])
    assert replayed(logs, rules(FEW_COLUMNS), cache) == (whole, [])
    assert (home / "mine" / "notes").is_dir()
    assert not (home / "000001.parquet.tmp").exists()
    assert [sums.read_bytes() for sums in home.glob("*.whole")] == [wanted]


def test_who_asks_a_cache_is_told_his_own_trouble(logs, tmp_path):
    """A full disk below what he writes is not one below the cache."""
    with pytest.raises(BlockingIOError), kept([str(logs)], tmp_path / "cache", Options()):
        raise BlockingIOError
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="cannot keep records"), kept([str(logs)], tmp_path / "file", Options()):
        pass


ENDED = """
import os, signal, sys
from replay.cache import kept
tmp = sys.argv[2]
def reading(*_):
    print(os.listdir(tmp), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
kept.batches = reading
from detector.cli import main
sys.argv = ["bucketwatch", "review", sys.argv[1], "--tmp", tmp, "--out", tmp + "/out"]
main()
"""


def test_a_review_that_is_ended_leaves_no_records_behind(logs, tmp_path):
    """SIGTERM while it reads, in a real process: the temporary cache is removed."""
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    command = [sys.executable, "-c", ENDED, str(logs), str(tmp)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert "bucketwatch-" in done.stdout
    assert [path.name for path in tmp.iterdir()] == ["out"]
