"""The bench measures what it says: its logs have the documented shape, and nothing that answers wrongly gets a figure.

Timings are no part of any test.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import __main__ as bench
from bench import cloudtrail, desk, runs, table, traffic
from bench.generate import generate
from bench.measure import ROOT, Used, measure
from bench.peers import bucketwatch
from bench.question import Question
from bench.runs import SECTIONS, Run
from bench.traffic import Traffic
from detector.core.access import AccessBatch, Operation, Outcome
from detector.core.builder import BatchBuilder
from detector.core.rulefile import read_rules
from detector.logs.read import read

RECORDS = 20_000
KINDS = ("cloudtrail", "access")
RUNS = list(dict.fromkeys(run for section in SECTIONS for run in section.runs))
ASKED = [run for run in RUNS if run.answers and (run.peer != "bucketwatch" or run.name == runs.ONE_RULE)]
"""Every peer once; of bucketwatch's variants one for each kind of log."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with one small data set of each kind and number of principals, laid out as the bench does."""
    folder = tmp_path_factory.mktemp("cache")
    for kind in KINDS:
        generate(folder / f"{kind}-{RECORDS}-{runs.FEW}", kind, RECORDS, runs.FEW, jobs=1)
    return folder


def folder(cache: Path, kind: str) -> Path:
    return cache / f"{kind}-{RECORDS}-{runs.FEW}"


def label(made: Path) -> dict[str, Any]:
    return json.loads((made / "label.json").read_text())


def parsed(made: Path) -> AccessBatch:
    builder = BatchBuilder()
    for path in sorted((made / "logs").iterdir()):
        reading = read(path.read_bytes(), path.name, builder)
        assert (reading.reason, reading.damage) == ("", "")
    return builder.build()


# --- the logs


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_sizes_give_the_same_bytes(tmp_path, kind):
    """With one process and with two."""
    for name, jobs in (("a", 1), ("b", 2)):
        generate(tmp_path / name, kind, 11_000, runs.FEW, jobs=jobs)
    a, b = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("a", "b")
    )
    assert a == b
    assert len(a) > 5


def test_a_half_made_folder_is_made_anew(tmp_path):
    """The label is written last; logs without it are not trusted."""
    made = tmp_path / "x"
    (made / "logs").mkdir(parents=True)
    (made / "logs" / "stale").write_text("stale")
    generate(made, "access", 11_000, 10, jobs=1)
    assert not (made / "logs" / "stale").exists()


def test_cloudtrail_records_have_about_2030_bytes_and_shrink_to_a_ninth(cache):
    made = folder(cache, "cloudtrail")
    packed = [path.read_bytes() for path in (made / "logs").iterdir()]
    size = sum(len(gzip.decompress(data)) for data in packed)
    assert size / label(made)["records"] == pytest.approx(2_030, rel=0.01)
    assert size / sum(map(len, packed)) == pytest.approx(9.4, rel=0.1)  # the thief's records are more alike


def test_access_log_lines_have_about_728_bytes(cache):
    made = folder(cache, "access")
    text = b"".join(path.read_bytes() for path in (made / "logs").iterdir())
    assert text.count(b"\n") == label(made)["records"]
    assert len(text) / label(made)["records"] == pytest.approx(728, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_our_parser_reads_every_record_and_copies_share_their_id(cache, kind):
    """No reject; one id a request; 0.5 % copies, alike in all they say."""
    made = folder(cache, kind)
    batch, said = parsed(made), label(made)
    assert not batch.rejects
    assert len(batch) == said["records"]
    assert len(np.unique(batch.id)) == said["distinct"] == RECORDS
    assert 0.003 < said["records"] / said["distinct"] - 1 < 0.007
    assert set(batch.operation.tolist()) == {Operation.read}
    assert set(batch.outcome.tolist()) == {Outcome.success}
    told = zip(batch.id.tolist(), batch.time.tolist(), batch.who.tolist(), batch.bytes.tolist(), strict=True)
    assert len(set(told)) == said["distinct"]
    assert len(set(batch.text["key"].values)) == said["distinct"]
    assert all(who.type == "AssumedRole" for who in batch.principals)


def test_records_are_delivered_60_to_420_seconds_late_in_no_order():
    asked = traffic.requests(Traffic(RECORDS, runs.FEW, 14))
    delivery = traffic.deliver(asked)
    late = delivery.due - asked.time[delivery.row]
    assert (late.min(), late.max()) >= (60, 360)
    assert late.max() <= 420
    assert (np.diff(delivery.due) >= 0).all()
    assert (np.diff(asked.time[delivery.row]) < 0).mean() > 0.3


def test_ordinary_principals_are_as_active_as_zipf_says():
    asked = traffic.requests(Traffic(200_000, runs.FEW, 14))
    count = np.bincount(asked.principal)[2:]
    assert count[0] / count[1] == pytest.approx(2, rel=0.1)
    assert count[0] / count.sum() == pytest.approx(1 / (1 / np.arange(1, runs.FEW + 1)).sum(), rel=0.05)
    assert len(count) > runs.FEW * 0.95


def test_the_label_names_the_thief_alone_and_the_innocent_stays_below():
    """In any five minutes; an answer that counts copies of records would name the innocent, too."""
    asked = traffic.requests(Traffic(200_000, runs.FEW, 14))
    assert set(traffic.crossed(asked, 300)) == {traffic.THIEF}
    twice = traffic.deliver(asked).row
    raw = traffic.Requests(np.sort(asked.time[twice]), asked.principal[np.sort(twice)], np.sort(twice))
    assert set(traffic.crossed(raw, 300)) == {traffic.THIEF, traffic.INNOCENT}


# --- the answers


@pytest.mark.parametrize("run", ASKED, ids=lambda run: f"{run.data.kind}, {run.name}")
def test_product_and_peers_give_the_answer_of_the_label(cache, run: Run):
    """Peers that are not installed are left out: they belong to the dependency group of the bench."""
    if run.needs and find_spec(run.needs) is None:
        pytest.skip(f"{run.needs} belongs to the dependency group bench")
    made = folder(cache, run.data.kind)
    used = measure(f"bench.peers.{run.peer}", [str(made / "logs"), str(run.window), str(runs.THRESHOLD), *run.extra])
    assert not used.failed
    answer = [json.loads(line) for line in used.output.splitlines()]
    assert answer == label(made)["answers"][str(run.window)]
    assert len(answer) == 1
    assert min(used.cpu, used.wall, used.peak) > 0


def test_variants_are_options_of_the_users_command(tmp_path):
    one = bucketwatch.arguments(Question("logs", 300, 10_000, ("jobs=2",)), tmp_path)
    assert {"replay", "logs", "--jobs=2", "--no-model", "--rules"} <= set(one)
    (rule,) = read_rules({"rule.yaml": (tmp_path / "rule.yaml").read_text()})
    assert (rule.window, rule.threshold, rule.measure, rule.group_by) == (300, 10_000, "requests", ("session",))
    assert not {"--no-model", "--rules"} & set(bucketwatch.arguments(Question("logs", 300, 1, ("shipped",)), tmp_path))


def test_a_wrong_answer_is_named_gets_no_figure_and_fails_the_bench(cache, tmp_path, monkeypatch, capsys):
    made = folder(cache, "cloudtrail")
    (tmp_path / made.name).symlink_to(made)
    wrong = label(made) | {"answers": {"300": []}}
    few = tuple(run for run in SECTIONS[0].runs if run.peer in {"python", "floor"})
    monkeypatch.setattr(bench, "_generated", lambda *_: wrong)
    monkeypatch.setattr(bench, "SECTIONS", [replace(SECTIONS[0], runs=few)])
    assert bench.main(["--cache", str(tmp_path), "--records", str(RECORDS), "--repeat", "1", "--only", "peers"]) == 1
    told = capsys.readouterr()
    assert "plain Python: a wrong answer: expected []" in told.err
    assert f"| {runs.FLOOR} |" in told.out
    assert "| plain Python |" not in told.out
    kept = json.loads((tmp_path / "results.json").read_text())
    assert [run["name"] for run in kept["runs"]] == [runs.FLOOR]


def test_a_failed_process_is_no_answer():
    used = measure("bench.peers.python", ["/nowhere", "300", "10000"])
    assert used.failed.startswith("exit status 1")
    assert "FileNotFoundError" in used.failed


def test_a_peer_that_is_not_installed_is_said_and_left_out(monkeypatch, capsys):
    monkeypatch.setattr(bench, "_version", lambda _: None)
    left = bench._present(RUNS)
    assert {run.needs for run in left} == {""}
    assert "chdb is not installed and is left out" in capsys.readouterr().err


def test_the_table_shows_medians_and_ratios_a_record():
    section = SECTIONS[0]
    used = [Used(cpu, 2.0, 5_000_000, "") for cpu in (1.0, 8.0, 2.0)]
    figures = {
        runs.ONE_RULE: table.Figures.of(1_000_000, used),
        runs.FLOOR: table.Figures.of(500_000, [Used(0.5, 1.0, 1_000_000, "")]),
    }
    line = next(text for text in table.table(section, figures).splitlines() if "one rule" in text)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["bucketwatch, one rule", "2.00", "2.00", "2.00", "500,000", "5", "8.00", "2.00"]


def test_making_logs_does_not_swell_the_measuring_process():
    """A child's peak memory counts that of its parent before it: numpy and the peers stay out of the parent."""
    loaded = "import sys, bench.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"numpy", "duckdb", "detector"} & set(done.stdout.split())


def test_stages_book_cpu_on_the_innermost_frame_that_is_known():
    from bench.stages import SECOND_PASS, stage

    def frame(file: str, function: str, back: Any = None) -> Any:
        return SimpleNamespace(f_code=SimpleNamespace(co_name=function, co_filename=f"/x/{file}"), f_back=back)

    reader = frame("reader.py", "_read_file")
    assert stage(frame("isal.py", "f", frame("inflate.py", "inflate", reader))) == "inflate"
    assert stage(frame("inflate.py", "inflate", frame("run.py", SECOND_PASS))).startswith("second pass")
    assert stage(None) == "other"


def test_the_desk_s_days_share_roles_and_nothing_else():
    """Sessions, their keys and addresses, objects and ids are those of one day."""
    asked = traffic.requests(Traffic(RECORDS, 200, 14.0))
    days = [
        [json.loads(one) for one in cloudtrail.records(desk.on(day, asked), np.arange(0, 500, 7))] for day in (0, 1)
    ]
    for one, other in zip(*days, strict=True):
        who = [day["userIdentity"] for day in (one, other)]
        assert who[0]["sessionContext"]["sessionIssuer"] == who[1]["sessionContext"]["sessionIssuer"]
        assert not {who[0][name] for name in ("arn", "principalId", "accessKeyId")} & set(map(str, who[1].values()))
        for name in ("eventTime", "eventID", "requestID", "sourceIPAddress", "requestParameters"):
            assert one[name] != other[name]
