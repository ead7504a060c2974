"""`bucketwatch init`: what it learns from history, what it does not learn, and what it writes."""

import json
from pathlib import Path

import pytest

from detector.cli import main
from detector.rules import load_rules
from detector.settings import read_settings
from replay.drill.calls import DATA_ACCOUNT, Role
from replay.example_day import burst
from replay.history import history
from replay.propose import FAR, LEAST, MARGIN, MOST, SMALL, level, lower_median
from tests.e2e.test_daemon_directory import packed

DAY, MONDAY = 86_400, 1_777_852_800
READERS = {f"reader-{n}": 250 + 10 * n for n in range(8)}
ETL = 6_000
THEFT = 9_000


def write(folder: Path, *, theft: bool, days: int = 5) -> Path:
    """Days of eight people and a nightly job; on the last day one of the people reads 9,000 objects in 5 minutes."""
    folder.mkdir()
    for day in range(days):
        start = MONDAY + day * DAY + 36_000
        files = {name: burst(name, objects, 290, start, prefix=f"raw/{name}/") for name, objects in READERS.items()}
        etl = Role(DATA_ACCOUNT, "/pipelines/", "voice-etl")
        files["etl"] = burst("nightly", ETL, 290, start - 30_000, role=etl, prefix="raw/all/")
        if theft and day == days - 1:
            files["theft"] = burst("reader-3", THEFT, 290, start + 3_000, prefix="raw/others/")
        for name, records in files.items():
            (folder / f"{day}-{name}.json.gz").write_bytes(packed(records))
    return folder


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return write(tmp_path_factory.mktemp("calm") / "logs", theft=False)


@pytest.fixture(scope="module")
def robbed(tmp_path_factory):
    return write(tmp_path_factory.mktemp("robbed") / "logs", theft=True)


def run(capsys, monkeypatch, *arguments: object):
    monkeypatch.setattr("sys.argv", ["bucketwatch", "init", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0, capsys.readouterr()
    return 0, capsys.readouterr()


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.yaml")}


def rules_without_counts(folder: Path) -> list[dict]:
    return [rule.model_dump(mode="json") for rule in load_rules(folder / "rules" / "learnt.yaml")]


# --- what is learnt


def test_the_peaks_are_those_of_the_records(calm):
    """Distinct objects in five minutes, by session and day, whatever the order of files."""
    found = history([str(calm)])
    assert found.days == 5
    assert found.events == 5 * (sum(READERS.values()) + ETL)
    [etl] = [peaks for who, peaks in found.peaks["session"].items() if who.endswith("/nightly")]
    assert set(etl.values()) == {ETL}
    assert sorted(etl) == [MONDAY // DAY + day for day in range(5)]


def test_copies_of_records_count_once(calm, tmp_path):
    twice = history([str(calm), str(write(tmp_path / "again", theft=False))])
    assert twice.peaks == history([str(calm)]).peaks


def test_a_theft_under_way_raises_no_threshold_and_is_listed(calm, robbed):
    """With and without the theft the same rules are proposed, and its day is said."""
    quiet, found = history([str(calm)]), history([str(robbed)])
    for name in ("session", "role"):
        before, after = level(quiet.peaks[name]), level(found.peaks[name])
        assert (after.threshold, after.heavy) == (before.threshold, before.heavy)
    after = level(found.peaks["session"])
    [suspect] = [one for one in after.suspects if one.who.endswith("/reader-3")]
    assert suspect.day == MONDAY // DAY + 4
    assert suspect.peak >= THEFT > after.threshold
    assert not level(quiet.peaks["session"]).suspects


def test_a_heavy_reader_has_an_exception_of_its_own(calm):
    one = level(history([str(calm)]).peaks["session"])
    [heavy] = one.heavy
    assert heavy.who.endswith("/nightly")
    assert (heavy.usual, heavy.allow) == (ETL, 12_000)
    assert one.threshold == 640  # twice the 320 of the busiest of the others
    assert one.learnt == len(READERS) + 1


@pytest.mark.parametrize("share", [1, 2, 3])
def test_a_theft_on_fewer_than_half_of_the_days_does_not_move_what_is_usual(share):
    days = dict.fromkeys(range(7), 100) | dict.fromkeys(range(share), 50000)
    assert lower_median(days) == 100
    assert [s.day for s in level({"x": days}).suspects] == list(range(share))


def test_a_newcomer_is_not_learnt_from():
    """Who is there for less than three days, such as a thief's new session, sets nothing and is listed."""
    usual = {f"p{n}": dict.fromkeys(range(5), 300) for n in range(6)}
    alone, joined = level(usual), level(usual | {"new": {3: 8_000, 4: 9_000}})
    assert joined.threshold == alone.threshold == MARGIN * 300
    assert [(s.who, s.peak, s.usual) for s in joined.suspects] == [("new", 9_000, 0), ("new", 8_000, 0)]


def test_a_theft_that_goes_on_for_the_whole_history_is_a_heavy_reader_to_be_confirmed():
    """It cannot be told from a job; it sets nobody else's threshold."""
    usual = {f"p{n}": dict.fromkeys(range(5), 300) for n in range(6)}
    found = level(usual | {"thief": dict.fromkeys(range(5), 20_000)})
    assert found.threshold == level(usual).threshold
    assert [one.who for one in found.heavy] == ["thief"]


def test_thresholds_stay_between_their_bounds():
    assert level({}).threshold == MOST
    assert level({"p": dict.fromkeys(range(5), 3)}).threshold == LEAST
    assert level({f"p{n}": dict.fromkeys(range(5), SMALL * 4) for n in range(4)}).threshold == SMALL * 4 * MARGIN
    busy = {f"p{n}": dict.fromkeys(range(5), 9_000) for n in range(40)}
    assert level(busy).threshold <= MOST
    assert FAR > MARGIN


# --- what is written


def test_what_it_writes_is_valid_staged_and_the_same_every_time(calm, tmp_path, capsys, monkeypatch):
    status, said = run(capsys, monkeypatch, calm, "--out", tmp_path / "one")
    assert status == 0, said.err
    run(capsys, monkeypatch, calm, "--out", tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    monkeypatch.chdir(tmp_path / "one")
    settings = read_settings(Path("bucketwatch.yaml"), {})
    assert settings.protected_buckets == ("ml-voice-raw",)
    rules = {rule.id: rule for rule in load_rules(Path("rules"))}
    assert rules["stray-copy-used"].source == ("ml-voice-raw",)
    assert "read-past-retention" not in rules  # nobody has said yet how keys say their day
    assert {rule.stage for id_, rule in rules.items() if "bulk" in id_ or "learnt" in id_} == {"staged"}
    assert rules["trail-changed"].stage == "live"
    [exception] = rules["learnt-objects-session"].exceptions
    assert exception.allow_up_to == 12_000


def test_the_digest_says_what_would_have_paged(robbed, tmp_path, capsys, monkeypatch):
    """The theft is found by the rule that did not learn it; the heavy reader is not."""
    status, said = run(capsys, monkeypatch, robbed, "--out", tmp_path)
    assert status == 0, said.err
    assert "     1 findings, 0.2 a day: learnt-objects-session" in said.out
    assert "look at this: " in said.out
    assert "reader-3 on 2026-05-08: 9,000, usually 280" in said.out
    assert "heavy reader, confirm: " in said.out
    assert "less than 14 days" in said.out


def test_nothing_is_overwritten_unless_it_is_asked_for(calm, tmp_path, capsys, monkeypatch):
    (tmp_path / "bucketwatch.yaml").write_text("mine", "utf-8")
    status, said = run(capsys, monkeypatch, calm, "--out", tmp_path)
    assert status == 2
    assert "--force" in said.err
    assert files_of(tmp_path) == {"bucketwatch.yaml": "mine"}
    assert run(capsys, monkeypatch, calm, "--out", tmp_path, "--force")[0] == 0
    assert files_of(tmp_path)["bucketwatch.yaml"] != "mine"


def test_logs_without_reads_are_told(tmp_path, capsys, monkeypatch):
    (tmp_path / "x.json").write_text(json.dumps({"Records": []}), "utf-8")
    status, said = run(capsys, monkeypatch, tmp_path / "x.json", "--out", tmp_path / "out")
    assert status == 2
    assert "no successful reads" in said.err
    assert run(capsys, monkeypatch, tmp_path / "not-there", "--out", tmp_path / "out")[0] == 2
