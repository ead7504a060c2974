"""`rules tune` as its user runs it: figures of a replay, the cache, labels, a suggestion, a chart; hostile names."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from detector.core.rule import Threshold
from detector.rules import load_rules
from replay.example_day import Organisation, burst, smash_and_grab, write
from replay.run import run as replay
from replay.whatif.chart import page, svg
from replay.whatif.labels import Trace
from replay.whatif.shown import Tuning, show
from replay.whatif.suggest import cost, suggest
from replay.whatif.tune import pages, tables
from tests.replay.whatif.test_windows import summarised
from tests.streams import Event, rule

BUCKETWATCH = Path(sys.executable).with_name("bucketwatch")
T0 = 1_777_626_000
RULE = """
rules:
  - id: reads
    title: many objects
    severity: {severity}
    kind: threshold
    where: {{operation: read, bucket: "{bucket}"}}
    group_by: session
    measure: {measure}
    window: {window}
    threshold: {threshold}
"""


def bucketwatch(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([BUCKETWATCH, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def tuned(*args: object) -> dict[str, Any]:
    return json.loads(bucketwatch("rules", "tune", *args, "--json").stdout)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two days of a small organisation, a theft on the second, and its label."""
    folder = tmp_path_factory.mktemp("history")
    robbed = smash_and_grab(2, day=date(2026, 5, 2), principals=16)
    for day in (Organisation(1, day=date(2026, 5, 1), principals=16), robbed):
        write(folder / "logs", day.files())
    assert robbed.theft
    (folder / "labels.json").write_text(json.dumps([asdict(robbed.theft)]))
    return folder / "logs", folder / "labels.json"


def written(path: Path, **changes: Any) -> Path:
    said = {"severity": "high", "bucket": "ml-*", "measure": "objects", "window": "5m", "threshold": 10_000}
    path.write_text(RULE.format(**said | changes))
    return path


def put(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), mtime=0))
    return path


def test_every_figure_is_what_a_replay_finds(logs, tmp_path):
    """Findings, groups and the busiest day, for a third of the thresholds of every window, others in each."""
    folder, labels = logs
    path = written(tmp_path / "r.yaml")
    said = tuned(path, folder, "--labels", labels)
    (base,) = load_rules(path)
    wanted = {}
    for number, table in enumerate(said["windows"]):
        for step in table["thresholds"][number % 3 :: 3]:
            name = f"r-{table['window_seconds']}-{int(step['threshold'])}"
            wanted[name] = step
            changes = {"id": name, "window": table["window_seconds"], "threshold": step["threshold"]}
            wanted[name]["rule"] = base.model_copy(update=changes)
    found = replay([str(folder)], [step["rule"] for step in wanted.values()]).findings
    for name, step in wanted.items():
        mine = [f for f in found if f.rule_id == name]
        assert step["findings"] == len(mine)
        assert step["groups"] == len({f.group_id for f in mine})
        assert step["busiest_day"] == max(Counter(f.opened_at // 86_400 for f in mine).values(), default=0)
        most = Counter(f.group["session"] for f in mine)
        assert {one["group"]["session"]: one["findings"] for one in step["named"]}.items() <= most.items()
    assert len({step["findings"] for step in wanted.values()}) > 5


def test_what_is_suggested_catches_the_theft_within_the_budget(logs, tmp_path):
    """And it is told which labelled theft a threshold misses."""
    folder, labels = logs
    said = tuned(written(tmp_path / "r.yaml"), folder, "--labels", labels, "--pages-per-day", 1)
    table = next(t for t in said["windows"] if t["window"] == said["suggestion"]["window"])
    step = next(s for s in table["thresholds"] if s["threshold"] == said["suggestion"]["threshold"])
    assert step["pages_a_day"] <= 1
    assert [one["caught"] for one in step["thefts"]] == [True]
    assert 0 < step["thefts"][0]["delay_seconds"] < 400
    assert [one["caught"] for one in table["thresholds"][-1]["thefts"]] == [False]
    assert any("1 of 1 labelled thefts" in reason for reason in said["suggestion"]["reasons"])


# --- the cache


def test_the_cache_answers_for_every_threshold_window_and_wording(logs, tmp_path):
    """The same figures; read once."""
    folder, _ = logs
    cache = tmp_path / "cache"
    first = tuned(written(tmp_path / "r.yaml"), folder, "--cache", cache)
    again = tuned(written(tmp_path / "r.yaml", threshold=500, window="1h", severity="low"), folder, "--cache", cache)
    assert (first["history"]["cached"], again["history"]["cached"]) == (False, True)
    plain = tuned(written(tmp_path / "r.yaml", threshold=500, window="1h", severity="low"), folder)
    assert again["windows"] == plain["windows"]
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("change", [{"bucket": "ml-voice-*"}, {"measure": "requests"}, "file", "period"])
def test_whatever_else_changes_is_read_anew(tmp_path, change):
    """What the rule counts, a log file's content, the period: the cache knows nothing of it."""
    log = put(tmp_path / "a.json.gz", burst("a", 300, 60, T0))
    cache = tmp_path / "cache"
    assert not tuned(written(tmp_path / "r.yaml"), log, "--cache", cache)["history"]["cached"]
    more: list[str] = []
    if isinstance(change, dict):
        written(tmp_path / "r.yaml", **change)
    elif change == "file":
        put(log, burst("a", 301, 60, T0))
    else:
        more = ["--since", "2026-05-01"]
    assert not tuned(tmp_path / "r.yaml", log, "--cache", cache, *more)["history"]["cached"]
    assert tuned(tmp_path / "r.yaml", log, "--cache", cache, *more)["history"]["cached"]


def test_the_order_and_names_of_files_make_no_difference_to_the_cache(tmp_path):
    a, b = (put(tmp_path / f"{n}.json.gz", burst(n, 300, 60, T0)) for n in "ab")
    assert not tuned(written(tmp_path / "r.yaml"), a, b, "--cache", tmp_path / "c")["history"]["cached"]
    a.rename(tmp_path / "z.json.gz")
    assert tuned(tmp_path / "r.yaml", b, tmp_path / "z.json.gz", "--cache", tmp_path / "c")["history"]["cached"]


@pytest.mark.parametrize("at", [0, 5, 30, 60, 200, -1])
def test_a_damaged_cache_is_read_anew_and_mended(tmp_path, at):
    """One wrong byte anywhere, or a file cut short."""
    log = put(tmp_path / "a.json.gz", burst("a", 300, 60, T0))
    first = tuned(written(tmp_path / "r.yaml"), log, "--cache", tmp_path / "c")
    (kept,) = (tmp_path / "c").iterdir()
    good = kept.read_bytes()
    kept.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] if at >= 0 else good[:-9])
    again = tuned(tmp_path / "r.yaml", log, "--cache", tmp_path / "c")
    assert not again["history"]["cached"]
    assert again["windows"] == first["windows"]
    assert kept.read_bytes() == good


def test_what_could_be_read_in_part_only_is_told_and_not_kept(tmp_path):
    """Exit status 2, the figures all the same; after mending it is read anew."""
    log = put(tmp_path / "a.json.gz", burst("a", 300, 60, T0))
    log.write_bytes(log.read_bytes()[:-20])
    done = bucketwatch("rules", "tune", written(tmp_path / "r.yaml"), log, "--cache", tmp_path / "c", code=2)
    assert "a.json.gz: broken gzip" in done.stderr
    assert "groups that the rule counts" in done.stdout
    assert list((tmp_path / "c").iterdir()) == []


# --- labels, pages, the suggestion


def summary_of(events: list[Event]) -> Any:
    return summarised(rule("requests", 60, 3), [events])


def events(who: str, start: int, count: int, every: int = 1) -> list[Event]:
    return [Event(T0 + start + i * every, who, key=f"{who}{start}{i}") for i in range(count)]


def label(who: str, start: int, seconds: int) -> Any:
    from replay.whatif.labels import Label

    return Label(T0 + start, seconds, session=f"arn:aws:sts::111122223333:assumed-role/Role/{who}")


def test_a_theft_is_caught_by_a_finding_that_opens_during_it():
    """Neither by one of somebody else, nor by one that was open already, nor by one that opens after it."""
    history = summary_of(events("a", 0, 50) + events("b", 20, 5, 2) + events("b", 200, 50))
    labels = [label("a", 10, 20), label("b", 20, 10), label("b", 200, 50), label("nobody", 0, 50)]
    (table,) = tables(history, rule("requests", 60, 10), [60], labels)
    step = table.at(10)
    assert step
    assert [(c.delay, c.already) for c in step.catches] == [(None, True), (None, False), (9, False), (None, False)]
    assert step.caught == 1
    assert not len(Trace(labels[3], history).groups)


def test_labels_that_cannot_be_used_are_refused(tmp_path):
    """Exit status 2, with the place and what is expected."""
    log, path = put(tmp_path / "a.json.gz", burst("a", 10, 60, T0)), written(tmp_path / "r.yaml")
    for text, told in (
        ("[{]", "no labels"),
        ('[{"started_at": "2026-05-01T09:00:00Z", "seconds": 5}]', "label 0"),
        ('[{"session": "a", "started_at": "soon", "seconds": 5}]', "label 0"),
        ('[{"session": "a", "started_at": 5}]', "label 0"),
        ('[{"session": 5, "started_at": 5}]', "$[0].session"),
    ):
        (tmp_path / "l.json").write_text(text)
        assert told in bucketwatch("rules", "tune", path, log, "--labels", tmp_path / "l.json", code=2).stderr


def test_of_very_many_findings_at_once_pages_are_those_that_storm_control_sends():
    import numpy as np

    at_once = np.full(500, T0, np.int64)
    spread = T0 + 300 * np.arange(7, dtype=np.int64)
    assert (pages(at_once), pages(spread), pages(spread[:0])) == (11, 7, 0)


@pytest.mark.parametrize("budget", [0, 0.5, 3, 100])
def test_the_suggestion_is_the_lowest_threshold_that_keeps_to_the_budget(budget):
    """Of those that were looked at, in the rule's own window, as there are no labels."""
    history = summary_of([e for n in range(1, 9) for e in events(f"w{n}", 1000 * n, 3 * n)])
    chosen = rule("requests", 60, 10)
    found = tables(history, chosen, [60, 300], [])
    said = suggest(history, chosen, found, budget)
    within = [step for step in found[0].steps if cost(step, chosen) <= budget]
    assert (said.window, said.threshold) == (60, min(step.threshold for step in within))
    assert all(cost(step, chosen) > budget for step in found[0].steps if step.threshold < said.threshold)


def test_without_labels_the_highest_groups_are_named_as_what_may_be_an_attack():
    """Else the threshold is laid above the thief, and he is called usual."""
    history = summary_of([e for n in range(1, 9) for e in events(f"w{n}", 1000 * n, 3 * n)])
    chosen = rule("requests", 60, 10)
    said = suggest(history, chosen, tables(history, chosen, [60], []), 0)
    (told,) = [reason for reason in said.reasons if "no --labels were given" in reason]
    assert "may be an attack" in told
    assert [told.index(f"w{n} (") for n in (8, 7, 6)] == sorted(told.index(f"w{n} (") for n in (8, 7, 6))
    assert "w5" not in told


def test_where_the_cap_forbids_a_quiet_threshold_nothing_is_suggested(monkeypatch):
    """Distinct measures count to a cap: a group at the cap fires at every threshold there is."""
    monkeypatch.setattr("replay.whatif.windows.DISTINCT_CAP", 20)
    monkeypatch.setattr("replay.whatif.tune.DISTINCT_CAP", 20)
    history = summarised(rule("objects", 60, 3), [events("a", 0, 50)])
    said = suggest(history, rule("objects", 60, 3), tables(history, rule("objects", 60, 3), [60], []), 0)
    assert said.threshold is None
    assert any("exceptions" in reason for reason in said.reasons)


# --- rules that cannot be tuned, hostile names, the chart


def test_a_rule_that_is_not_there_or_has_no_window_is_refused(tmp_path):
    log = put(tmp_path / "a.json.gz", burst("a", 10, 60, T0))
    assert "threshold rules there: " in bucketwatch("rules", "tune", "nosuch", log, code=2).stderr
    assert "of kind baseline" in bucketwatch("rules", "tune", "unusual-read-rate", log, code=2).stderr
    path = written(tmp_path / "r.yaml")
    assert "--window: " in bucketwatch("rules", "tune", path, log, "--window", "5", code=2).stderr
    assert "10s to 30d" in bucketwatch("rules", "tune", path, log, "--window", "1s", code=2).stderr
    assert ".svg or .html" in bucketwatch("rules", "tune", path, log, "--out", "x.png", code=2).stderr


def tuning(who: str, chosen: Threshold) -> Tuning:
    history = summarised(chosen, [[Event(T0 + i, who, key=str(i)) for i in range(40)]])
    found = tables(history, chosen, [60, 300], [])
    return Tuning(chosen, history, found, 1.0, suggest(history, chosen, found, 1.0), False, 0.0, 0.0)


def test_names_from_logs_cannot_break_out_of_table_or_page(capsys):
    """Neither terminal codes, nor rich's markup, nor HTML."""
    told = tuning("\x1b[2J[red]<script>alert(1)</script>\u202e", rule("objects", 60, 10))
    show(told, Console(width=200, highlight=False, markup=False), every=True)
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "[red]<script>" in shown
    html = page(told)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "default-src 'none'" in html


def test_the_chart_has_a_line_a_window_and_a_point_a_threshold():
    told = tuning("a", rule("objects", 60, 10))
    drawn = ET.fromstring(svg(told))
    space = {"s": "http://www.w3.org/2000/svg"}
    assert len(drawn.findall("s:polyline", space)) == len(told.tables) == 2
    assert len(drawn.findall("s:circle", space)) == sum(len(table.steps) for table in told.tables)
    for circle in drawn.findall("s:circle", space):
        assert 0 <= float(circle.get("cx", "-1")) <= 860
        assert 0 <= float(circle.get("cy", "-1")) <= 460


def test_history_without_a_record_of_the_rule_is_no_error(tmp_path):
    log = put(tmp_path / "a.json.gz", burst("a", 10, 60, T0))
    said = tuned(written(tmp_path / "r.yaml", bucket="other"), log)
    assert said["history"]["groups"] == 0
    assert all(step["findings"] == 0 for table in said["windows"] for step in table["thresholds"])
