"""A disk on which nothing more can be written: real refusals of the system, at any file, at any size.

The process may write files up to a bound only (RLIMIT_FSIZE): whichever file grows past it first, state, journal or
alerts, refuses. The device /dev/full takes nothing at all.
"""

import resource
from functools import partial

import pytest

from detector.journal import verify
from replay.example_day import burst
from tests.e2e.test_daemon_directory import FIRST_SECOND, books, daemon, deliver, lines_of, packed, prepared, said

THIEVES = {f"thief-{n}" for n in range(6)}


def laid(folder):
    folder = prepared(folder)
    config = folder / "bucketwatch.yaml"
    config.write_text(
        config.read_text() + f"archive: {{path: {folder}/archive}}\nstorm: {{single: 1000, total: 1000}}\n"
    )
    deliver(folder, [packed(burst(name, 60, 60, FIRST_SECOND + 100 * n)) for n, name in enumerate(sorted(THIEVES))])
    return folder, config


def bounded(size):
    return {"preexec_fn": partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))}


def outcome(folder):
    closed = [e["body"] for e in lines_of(folder / "journal.jsonl") if e["kind"] == "finding"]
    return {
        "books": books(folder),
        "told": {(a["alert_id"], a["state"]) for a in lines_of(folder / "alerts.jsonl")},
        "closed": sorted(b["finding_id"] for b in closed if b["state"] == "closed"),
        "journal": verify(folder / "journal.jsonl"),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What comes of it where there is room; and how large the files get."""
    folder, config = laid(tmp_path_factory.mktemp("whole"))
    ended = daemon(config, "--until-idle", "0.3", "--close")
    assert ended.returncode == 0, ended.stderr
    found = outcome(folder)
    assert len(found["closed"]) >= len(THIEVES)
    return found


@pytest.mark.parametrize("size", [0, 300, 5_000, 20_000, 40_000, 70_000, 120_000, 200_000])
def test_a_full_disk_loses_nothing(tmp_path, whole, size):
    """It ends with an error that says where and what to do, or keeps what it could not write; with room it goes on.

    Whatever file was refused: in the end books, findings, alerts and journal are those of a disk with room.
    """
    folder, config = laid(tmp_path)
    ended = daemon(config, "--until-idle", "0.3", "--close", **bounded(size))
    if ended.returncode:
        assert ended.returncode in {1, 2}, ended.stderr
        assert "Traceback" not in ended.stderr
        told = ended.stderr.strip().splitlines()
        assert any(str(folder) in line for line in told), told
        assert "make room" in ended.stderr, told
    else:
        assert said(ended.stderr, "alert_failed") or said(ended.stderr, "library") or size >= 120_000
    ended = daemon(config, "--until-idle", "0.3", "--close")
    assert ended.returncode == 0, ended.stderr
    found = outcome(folder)
    assert found == whole


def test_a_sink_on_a_full_disk_is_an_alarm_and_keeps_its_alerts(tmp_path):
    """The other sink gets them, and the alarm; when there is room again the first one gets all of them."""
    folder, config = laid(tmp_path)
    usual = config.read_text()
    sinks = f"[{{kind: file, path: /dev/full}}, {{kind: file, path: {folder}/alerts.jsonl}}]"
    config.write_text(usual.replace(f"[{{kind: file, path: {folder}/alerts.jsonl}}]", sinks) + "sink_down_after: 1s\n")
    ended = daemon(config, "--until-idle", "3")
    assert ended.returncode == 0, ended.stderr
    alerts = lines_of(folder / "alerts.jsonl")
    assert {a["group"]["session"].rpartition("/")[2] for a in alerts if "session" in a["group"]} == THIEVES
    assert [a["state"] for a in alerts if a["rule_id"] == "bucketwatch.sink_down"] == ["opened"]
    assert said(ended.stderr, "stopped")[0]["left"] >= len(THIEVES)
