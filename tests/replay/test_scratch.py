"""Temporary files of a replay: none without need, none left behind, however it ends."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from detector.errors import EdgeError
from replay.scratch import Scratch


def test_nothing_is_made_before_something_is_saved(tmp_path):
    """A replay that fits into memory leaves the disk alone."""
    with Scratch(tmp_path):
        assert not list(tmp_path.iterdir())


def test_everything_is_removed_at_the_end_also_after_an_error(tmp_path):
    """Whatever goes wrong in between."""

    def fail() -> None:
        with Scratch(tmp_path) as scratch:
            scratch.save({"a/b": b"1"})
            (folder,) = tmp_path.iterdir()
            assert folder.stat().st_mode & 0o077 == 0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_clearing_keeps_what_it_is_told_to(tmp_path):
    """By the beginnings of names."""
    with Scratch(tmp_path) as scratch:
        scratch.save({"seen/1/0": b"1", "copies/1/0": b"2"})
        scratch.clear(but=("copies/",))
        assert scratch.get("copies/1/0", 0, 1) == b"2"
        with pytest.raises(EdgeError):
            scratch.get("seen/1/0", 0, 1)


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    """Where, and which options help."""
    with Scratch(tmp_path / "missing") as scratch, pytest.raises(EdgeError) as caught:
        scratch.save({"a": b"1"})
    assert "--tmp" in caught.value.remedy
    assert str(tmp_path) in caught.value.where


def test_of_what_can_be_done_without_nothing_is_left_where_the_disk_refuses(tmp_path):
    """Half of it was written; or no folder could be made."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Scratch(tmp_path) as scratch, Scratch(tmp_path / "missing") as nowhere:
        assert scratch.offer("a/b", b"1" * 2000).read_bytes() == b"1" * 2000
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            assert scratch.offer("a/c", b"1" * 2000) is None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert nowhere.offer("a", b"1") is None
        assert [path.name for path in tmp_path.glob("*/*")] == ["a.b"]


WAITING = """
import sys, time
import detector.watches
from replay import command, run

def waiting(files, counts, *_):
    counts[0]._scratch.save({"a": b"1"})
    print("saved", flush=True)
    time.sleep(60)

run._feed = waiting
from detector.cli import main
sys.argv = ["bucketwatch", "replay", sys.argv[1], "--out", sys.argv[2], "--tmp", sys.argv[3]]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_replay_that_is_ended_leaves_nothing_behind(tmp_path, number):
    """SIGTERM and Control-C remove the temporary files and the unfinished output, too."""
    logs, out, tmp = (tmp_path / name for name in ("logs", "out", "tmp"))
    for folder in (logs, tmp):
        folder.mkdir()
    (logs / "a.log").write_text("x\n")
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(logs), str(out), str(tmp)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"saved\n"
        assert list(tmp.iterdir())
        os.kill(child.pid, number)
        assert child.wait(30) != 0
    time.sleep(0.1)
    assert not list(tmp.iterdir())
    assert not list(out.iterdir())
