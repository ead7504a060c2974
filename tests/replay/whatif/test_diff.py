"""`rules diff`: both sides are what replays find; every finding is accounted for once; what each change is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from detector.core.finding import Finding
from detector.rules import load_rules
from replay.arguments import admission
from replay.example_day import burst
from replay.options import Options
from replay.run import run as replay
from replay.whatif.diff import compare, difference
from tests.replay.whatif.test_tune import bucketwatch, put, written
from tests.replay.whatif.test_windows import events_
from tests.streams import closed, rule

T0 = 1_777_626_000


def finding(opened: int, last: int, peak: float = 5, severity: str = "high", window: int = 10) -> Finding:
    return Finding(
        f"{opened}/{last}/{window}", "r", "t", "threshold", severity, "closed", T0 + opened, T0 + last, window,
        "requests", 3, peak, T0 + opened, {"session": "a"}, 1, None, "",
    )  # fmt: skip


def told(old: list[Finding], new: list[Finding]) -> list[tuple[str, ...]]:
    return [change.what for change in compare(old, new)[0]]


def test_what_a_change_is_called():
    """One finding before, one after, in all ways in which they may differ."""
    one = finding(100, 120)
    assert told([one], [one]) == []
    assert told([one], []) == [("gone",)]
    assert told([], [one]) == [("new",)]
    assert told([one], [finding(90, 120)]) == [("earlier",)]
    assert told([one], [finding(110, 120, 9)]) == [("later", "peak")]
    assert told([one], [finding(100, 120, severity="low")]) == [("severity",)]
    assert told([one], [finding(131, 140)]) == [("gone",), ("new",)]
    assert told([one], [finding(130, 140)]) == [("later",)]
    assert told([finding(100, 110), finding(130, 140)], [finding(100, 140)]) == [("joined",)]
    assert told([finding(100, 140)], [finding(100, 110), finding(130, 140)]) == [("split",)]


def test_another_group_or_rule_is_another_finding():
    from dataclasses import replace

    one = finding(100, 120)
    assert told([one], [replace(one, group_id=2)]) == [("gone",), ("new",)]
    assert told([one], [replace(one, rule_id="s")]) == [("gone",), ("new",)]
    assert told([one], [replace(one, group={"role": "a"})]) == [("gone",), ("new",)]


@given(
    events=events_,
    old=st.tuples(st.sampled_from([10, 60, 300]), st.integers(1, 5)),
    new=st.tuples(st.sampled_from([10, 60, 300]), st.integers(1, 5)),
)
def test_every_finding_is_accounted_for_once(events, old, new):
    """As itself, changed, gone or joined; as itself, changed, new or split. Nothing changes if nothing does."""
    before, after = (closed([rule("objects", *one)], [events]) for one in (old, new))
    changes, same = compare(before, after)
    olds = [c.old for c in changes if c.old and c.what != ("split",)]
    news = [c.new for c in changes if c.new and c.what != ("joined",)]
    assert len(olds) + same == len(before)
    assert len(news) + same == len(after)
    assert len({f.finding_id for f in olds}) == len(olds)
    assert len({f.finding_id for f in news}) == len(news)
    if old == new:
        assert not changes
    if old[0] == new[0] and old[1] <= new[1]:  # a higher threshold finds nothing that was not found, and no sooner
        assert not any({"new", "earlier"} & set(c.what) for c in changes if c.new is not c.old)


def sets(tmp_path: Path, **changes: Any) -> tuple[Path, Path]:
    """A rule set, and another that has these changes."""
    for name, said in (("old", {}), ("new", changes)):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "r.yaml", **{"threshold": 200} | said)
    return tmp_path / "old", tmp_path / "new"


def test_both_sides_are_what_replays_find(tmp_path):
    """On log files with copies; counts, pages and the changes themselves."""
    records = burst("a", 300, 60, T0) + burst("b", 250, 60, T0 + 50, prefix="raw/b/")
    logs = [put(tmp_path / f"{i}.json.gz", records[i::3] + records[:40]) for i in range(3)]
    old, new = sets(tmp_path, threshold=280)
    done = bucketwatch("rules", "diff", old, new, *logs, "--json", "--no-model")
    said = json.loads(done.stdout)
    ids = {
        side: sorted(f.finding_id for f in replay([*map(str, logs)], load_rules(path)).findings)
        for side, path in (("old", old), ("new", new))
    }
    assert said["findings"] == {"old": len(ids["old"]), "new": len(ids["new"]), "unchanged": 0} == {
        "old": 2, "new": 1, "unchanged": 0,
    }  # fmt: skip
    for side in ("old", "new"):
        assert sorted(c[side]["finding_id"] for c in said["changes"] if c[side]) == ids[side]
    assert said["counts"]["gone"] == said["counts"]["later"] == 1
    assert said["pages_a_day"] == {"old": 2, "new": 1}
    shown = bucketwatch("rules", "diff", old, new, *logs, "--fail-on-change", code=3).stdout
    assert "2 findings before, 1 after" in shown
    assert "gone: reads: session arn:aws:sts::" in shown


def test_what_was_delivered_long_before_the_period_is_not_read(tmp_path):
    """Told by its name, as in a replay: `rules diff` and `rules tune` find and count the same without it."""
    inside, outside = (
        tmp_path / f"logs/111122223333_CloudTrail_us-east-1_{day}T0900Z_a.json.gz" for day in ("20260501", "20260301")
    )
    inside.parent.mkdir()
    for path in (inside, outside):
        put(path, burst("a", 300, 60, T0))
    old, _ = sets(tmp_path)
    rules = load_rules(old)
    found = difference([str(inside.parent)], rules, rules, Options(admission("2026-05-01")))
    assert (found.reads.kept, len(found.old.findings)) == (1, 1)
    assert difference([str(inside.parent)], rules, rules, Options()).reads.kept == 2
    said = bucketwatch("rules", "tune", old / "r.yaml", inside.parent, "--since", "2026-05-01", "--json").stdout
    assert json.loads(said)["history"]["records"] == 300


def test_a_rule_that_stops_paging_changes_pages_and_severity(tmp_path):
    log = put(tmp_path / "a.json.gz", burst("a", 300, 60, T0))
    old, new = sets(tmp_path, severity="low")
    said = json.loads(bucketwatch("rules", "diff", old, new, log, "--json").stdout)
    assert said["pages_a_day"] == {"old": 1, "new": 0}
    assert [c["changes"] for c in said["changes"]] == [["severity"]]
    bucketwatch("rules", "diff", old, old, log, "--fail-on-change")
