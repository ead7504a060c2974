"""What the system says of memory, held against what the process does; and bounds that are not there."""

import os
import subprocess
import sys

from detector.local import memory

GROWS = """
from detector.local import memory
before = memory.used()
kept = bytes(b"x") * (64 << 20)
print(memory.used() - before)
"""


def test_what_is_used_grows_with_what_is_held():
    """By about as much."""
    grown = int(subprocess.run([sys.executable, "-c", GROWS], capture_output=True, text=True, check=True).stdout)
    assert 60 << 20 < grown < 80 << 20


def test_the_limit_is_the_smallest_that_is_told(tmp_path, monkeypatch):
    """A container's bound below the machine's memory; `max` and what is not there are none."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    bound = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "OURS", tmp_path / "cgroup")
    assert memory.limit() == machine
    bound.write_text("max\n")
    assert memory.limit() == machine
    bound.write_text("1048576\n")
    assert memory.limit() == 1 << 20
    (tmp_path / "cgroup").write_text("1:name=x:/y\n0::/system.slice/bucketwatch.service\n")
    (tmp_path / "system.slice" / "bucketwatch.service").mkdir(parents=True)
    (tmp_path / "system.slice" / "memory.max").write_text("524288\n")
    assert memory.limit() == 1 << 19
    (tmp_path / "system.slice" / "bucketwatch.service" / "memory.max").write_text("4096\n")
    assert memory.limit() == 4096


def test_a_system_that_does_not_tell_is_no_error(tmp_path, monkeypatch):
    """Then nothing is known, and no alarm comes of it."""
    monkeypatch.setattr(memory, "STATM", tmp_path / "nowhere")
    assert memory.used() == 0
