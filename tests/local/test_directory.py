"""Laws of the directory source beyond the contract of every source: order, what is passed over, what is remembered."""

import json
import os

import pytest

from detector.errors import EdgeError, StateError
from detector.listed import HELD_SECONDS
from detector.local import directory
from detector.local.directory import DirectorySource
from detector.source import Notice


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def made(root, **options):
    clock = Clock()
    return DirectorySource(root, monotonic=clock, sleep=clock.sleep, **options), clock


def names(delivery):
    return [notice.key for message in delivery.messages for notice in message.notices]


def test_files_come_in_name_order(tmp_path):
    """Two runs over the same files are the same: the order is that of relative paths, not of the disk."""
    for name in ("b.gz", "a/z.gz", "a.gz", "a/b/c.gz", "B.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    source, _ = made(tmp_path)
    assert names(source.receive(0)) == ["B.gz", "a.gz", "a/b/c.gz", "a/z.gz", "b.gz"]


def test_work_in_progress_is_passed_over(tmp_path):
    """Dot-files, dot-folders, *.part and *.tmp are nobody's log yet; a link that leads nowhere is none either."""
    (tmp_path / ".git").mkdir()
    for name in (".hidden", ".git/x.gz", "a.part", "b.tmp"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    source, _ = made(tmp_path)
    assert names(source.receive(0)) == []
    (tmp_path / "a.part").rename(tmp_path / "a")
    assert names(source.receive(0)) == ["a"]


def test_a_file_that_changed_is_another_file(tmp_path):
    """A log that grew after it was read is read anew: its records are told apart by their ids, none is lost."""
    log = tmp_path / "a"
    log.write_bytes(b"1")
    source, _ = made(tmp_path)
    source.acknowledge(source.receive(0).messages)
    assert names(source.receive(0)) == []
    log.write_bytes(b"12")
    assert names(source.receive(0)) == ["a"]


def test_a_same_sized_replacement_is_another_file(tmp_path):
    """Size alone does not tell a file: its modification time belongs to it."""
    log = tmp_path / "a"
    log.write_bytes(b"1")
    source, _ = made(tmp_path)
    source.acknowledge(source.receive(0).messages)
    os.utime(log, ns=(1, 1))
    assert names(source.receive(0)) == ["a"]


def test_what_is_gone_is_forgotten(tmp_path):
    """The memory of what was read is no larger than the directory."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    source, _ = made(tmp_path)
    source.acknowledge(source.receive(0).messages)
    assert len(json.loads(source.positions([]))["done"]) == 2
    (tmp_path / "a").unlink()
    source.receive(0)
    assert [identity.partition("|")[0] for identity in json.loads(source.positions([]))["done"]] == ["b"]


def test_a_poll_is_bounded_and_says_when_more_waits(tmp_path):
    """`limit` files a poll; the last poll says that nothing more waits."""
    for n in range(5):
        (tmp_path / str(n)).write_bytes(b"x")
    source, _ = made(tmp_path, limit=2)
    polls = [source.receive(0) for _ in range(3)]
    assert [names(p) for p in polls] == [["0", "1"], ["2", "3"], ["4"]]
    assert [p.backlog for p in polls] == [True, True, False]


def test_what_is_never_acknowledged_comes_back(tmp_path):
    """A file whose processing failed is delivered again after the time a queue would hold it."""
    (tmp_path / "a").write_bytes(b"x")
    source, clock = made(tmp_path)
    assert names(source.receive(0)) == ["a"]
    clock.now += HELD_SECONDS - 1
    assert names(source.receive(0)) == []
    clock.now += 2
    assert names(source.receive(0)) == ["a"]


def test_it_waits_no_longer_than_asked(tmp_path):
    """An empty directory is looked at until the wait is over, and a file that comes ends the wait."""
    source, clock = made(tmp_path)
    source.receive(1.0)
    assert clock.now == pytest.approx(1.0)

    def arrives(seconds):
        clock.now += seconds
        (tmp_path / "a").write_bytes(b"x")

    source = DirectorySource(tmp_path, monotonic=clock, sleep=arrives)
    begun = clock.now
    assert names(source.receive(100)) == ["a"]
    assert clock.now - begun < 1


def test_positions_survive_names_that_are_not_utf8(tmp_path):
    """A file name is bytes: any name is delivered, read and remembered."""
    raw = os.fsencode(tmp_path) + b"/\xff\n.gz"
    with open(raw, "wb") as file:  # noqa: PTH123 - a name of bytes
        file.write(b"x")
    source, _ = made(tmp_path)
    delivery = source.receive(0)
    assert source.fetch(delivery.messages[0].notices[0]) == b"x"
    source.acknowledge(delivery.messages)
    again, _ = made(tmp_path)
    again.restore(source.positions([]))
    assert names(again.receive(0)) == []


def test_positions_hold_what_the_checkpoint_is_about_to_commit(tmp_path):
    """A crash between checkpoint and acknowledgement: what the checkpoint names as done does not come again."""
    for name in "ab":
        (tmp_path / name).write_bytes(b"x")
    source, _ = made(tmp_path, limit=1)
    kept = source.positions(source.receive(0).messages)
    again, _ = made(tmp_path)
    again.restore(kept)
    assert names(again.receive(0)) == ["b"]


@pytest.mark.parametrize("positions", [b"{", b"{}", b"[1]", b'{"of": "directory"}', b"\xff", b"[" * 100_000])
def test_damaged_positions_are_refused(tmp_path, positions):
    """Half a memory would read some files twice and say nothing: it is refused with a remedy."""
    source, _ = made(tmp_path)
    with pytest.raises(StateError) as caught:
        source.restore(positions)
    assert caught.value.remedy


def test_positions_of_an_older_daemon_are_taken_up(tmp_path):
    """They were a plain list."""
    (tmp_path / "a").write_bytes(b"x")
    source, _ = made(tmp_path)
    identity = source.receive(0).messages[0].id
    again, _ = made(tmp_path)
    again.restore(json.dumps([identity]).encode())
    assert names(again.receive(0)) == []


def test_what_cannot_be_read_is_an_edge_error(tmp_path, monkeypatch):
    """A folder or a file locked away is said with a remedy; it is never taken for an empty one."""
    source, _ = made(tmp_path)
    with pytest.raises(EdgeError) as caught:
        source.fetch(Notice("x\x1b", key="."))
    assert caught.value.remedy
    assert caught.value.where.isprintable()

    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(directory.os, "scandir", denied)
    with pytest.raises(EdgeError, match="Permission denied"):
        source.receive(0)
