"""The files under the paths a user names: each once, in name order, in little memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from detector.core.watermark import NEVER
from detector.errors import UnreadablePathError
from replay import reader
from replay.files import LogPath, find
from replay.reader import FileRead, Reads


def made(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_files_come_in_the_order_of_their_whole_names(tmp_path):
    """A folder's name is followed by a slash: after a dash, before a letter. Several paths are merged."""
    names = ["a-b/x", "a/x", "a/b/c", "a.gz", "a/b.gz", "ab", "c/.hidden/x", "c/x.part", "c/y.tmp", "c/z.part/in", "é"]
    random.Random(1).shuffle(names)
    made(tmp_path, *names)
    found = [str(file.path.relative_to(tmp_path)) for file in find([str(tmp_path / "c"), str(tmp_path)])]
    assert found == ["a-b/x", "a.gz", "a/b.gz", "a/b/c", "a/x", "ab", "c/z.part/in", "é"]


def test_a_file_may_say_that_it_is_from_before_1970(tmp_path):
    """Archives restore such times; another one is another file."""
    made(tmp_path, "a")
    prints = set()
    for nanoseconds in (-1, -(10**18), 10**18):
        os.utime(tmp_path / "a", ns=(0, nanoseconds))
        prints.add(int(find([str(tmp_path)]).prints()[0]))
    assert len(prints) == 3


def test_a_file_is_read_once_by_whichever_name(tmp_path):
    """Overlapping paths, links to files: once, under the name that the user gave outright if there is one."""
    made(tmp_path, "logs/b", "logs/d")
    (tmp_path / "logs/a").symlink_to(tmp_path / "logs/b")
    (tmp_path / "loop").symlink_to(tmp_path / "logs")
    (tmp_path / "logs/up").symlink_to(tmp_path)
    assert [file.path.name for file in find([str(tmp_path / "logs")])] == ["a", "d"]
    found = find([str(tmp_path / "logs"), str(tmp_path / "logs/b"), str(tmp_path / "loop/d"), str(tmp_path / "l*/d")])
    assert [(str(file.path.relative_to(tmp_path)), file.outright) for file in found] == [
        ("logs/b", True),
        ("loop/d", True),
    ]


def test_a_folder_that_cannot_be_opened_is_said(tmp_path, monkeypatch):
    """It is never passed over in silence: what lies in it might be the theft."""

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UnreadablePathError, match="Permission denied"):
        find([str(tmp_path)])


HELD = """
import tracemalloc
from pathlib import Path
from replay.files import Files, LogPath
from replay.reader import FileRead, Reads

tracemalloc.start()
reads, files = Reads(), Files()
for number in range(200_000):
    folder = Path(f"AWSLogs/111122223333/CloudTrail/us-east-1/2026/05/{number // 10_000:02}")
    name = f"111122223333_CloudTrail_us-east-1_20260501T0005Z_{number:016}.json.gz"
    files.append(LogPath(folder / name, number))
    reads.add(FileRead(files[number], "cloudtrail", first=number, last=number + 300))
print(tracemalloc.get_traced_memory()[0] / len(files))
assert files[123_456].path.name.endswith("_0000000000123456.json.gz")
assert files[123_456].size == 123_456
assert reads.within(1_000, 1_001).nonzero()[0].tolist() == list(range(701, 1_002))
"""


def test_a_file_takes_a_hundred_bytes():
    """200,000 files with names as CloudTrail gives them, and what came of them, in a process of their own."""
    told = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert float(told.stdout) < 150


def test_many_files_with_a_fault_are_counted_and_the_first_are_named(monkeypatch):
    """A million files that are no logs do not fill memory; a file without records reaches into no time."""
    monkeypatch.setattr(reader, "LISTED", 3)
    reads = Reads()
    for number in range(10):
        reads.add(FileRead(LogPath(Path(str(number)), 1, outright=number == 9), "", "no known log", "damaged"))
    assert [read.file.name for read in reads.ignored] == [read.file.name for read in reads.damaged] == ["0", "1", "2"]
    assert (reads.ignored_count, reads.damaged_count, reads.kept, reads.size) == (10, 10, 0, 0)
    assert [read.file.name for read in reads.unknown] == ["9"]
    assert not reads.within(NEVER, 1 << 40).any()
