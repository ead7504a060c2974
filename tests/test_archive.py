"""Laws of the archive: what was counted is in it, once, by hour; and it never stands in the way.

Crashes at every place are in tests/crash, which look into the archive, too.
"""

import io
from collections import Counter
from pathlib import Path

import pytest
from pyarrow import parquet

from detector import archive
from detector.archive import Archive
from detector.core.access import COLUMNS
from detector.core.admit import Admission
from detector.core.builder import BatchBuilder
from detector.drain import Drain
from detector.edges import Edges
from detector.errors import EdgeError
from detector.local.files import FolderFiles
from detector.local.sqlite import SqliteState
from detector.logs.read import read
from replay.example_day import burst
from tests.crash.test_outage import packed

NOW = 1_777_626_000


def archived(folder):
    """How often each event is in an archive, by event id."""
    rows = Counter()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            rows.update(parquet.read_table(path, columns=["event_id"], partitioning=None)["event_id"].to_pylist())
    return rows


def events_of(*records):
    into = BatchBuilder(COLUMNS)
    read(packed(list(records)), "a", into)
    return Admission().apply(into.build())


class Down:
    """Files that cannot be written for a while."""

    def __init__(self, files) -> None:
        self.files, self.down, self.tried = files, False, 0

    def put(self, name, data, *, once=False):
        self.tried += 1
        if self.down:
            raise EdgeError("no room", retryable=True)
        return self.files.put(name, data, once=once)


class Desk:
    """An archive over a real state and a real folder, with a clock of ours."""

    def __init__(self, folder) -> None:
        self.folder, self.now, self.spent, self.told = folder / "archive", NOW, 0.0, []
        self.store, self.files = SqliteState(folder / "state.db"), Down(FolderFiles(folder / "archive"))
        self.begin()

    def begin(self, wanted=True):
        """As a new process would."""
        edges, self.drain = Edges(None, self.store, [], None, archive=self.files if wanted else None), Drain()
        self.archive = Archive(
            edges,
            clock=lambda: self.now,
            tell=lambda *said: self.told.append(said),
            drain=self.drain,
            monotonic=lambda: self.spent,
        )
        self.archive.restore(self.store.load())

    def turn(self, *records):
        """As the loop does it, as long as it brings anything further."""
        if records:
            self.archive.take(events_of(*records))
        while True:
            self.checkpoint()
            if not self.archive.write():
                break
        self.checkpoint()

    def checkpoint(self):
        self.store.save(self.archive.changes())
        self.archive.let_go()

    def names(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.store.close()


def test_events_lie_by_hour_in_the_order_of_time(desk):
    """Of many turns and in any order: one file an hour, each event in its own."""
    hours = [burst(f"s{n}", 3, 3, NOW - 7200 + 3600 * n) for n in range(3)]
    for records in (hours[2], hours[0], hours[1], hours[0][:0]):
        desk.turn(*records)
    assert desk.names() == []
    desk.now += archive.EVERY
    desk.turn()
    assert [name.rsplit("/", 1)[0] for name in desk.names()] == [
        f"date=2026-05-01/hour={hour:02}" for hour in (7, 8, 9)
    ]
    for name, records in zip(desk.names(), hours, strict=True):
        table = parquet.read_table(desk.folder / name, partitioning=None)
        assert sorted(table["event_id"].to_pylist()) == sorted(r["eventID"] for r in records)
        times = table["time"].to_pylist()
        assert times == sorted(times)
    assert desk.archive.waiting() == 0


def test_what_is_written_is_forgotten_with_the_next_checkpoint(desk):
    """State does not grow with the archive."""
    for n in range(5):
        desk.turn(*burst(f"s{n}", 3, 3, NOW))
        desk.now += archive.EVERY
    desk.turn()
    assert [name for name in desk.store.load() if name.startswith("archive/")] == []
    assert archived(desk.folder).total() == 15


def test_a_place_that_cannot_be_written_holds_nothing_up(desk):
    """It is said once, tried at growing intervals, and nothing is missing afterwards, a restart in between or not."""
    desk.files.down = True
    for n in range(20):
        desk.turn(*burst(f"s{n}", 3, 3, NOW))
        desk.now += 100
    assert [kind for kind, _ in desk.told] == ["archive_failed"]
    assert desk.files.tried < 12
    desk.begin()
    assert desk.archive.waiting() == 60
    desk.turn()
    desk.files.down = False
    desk.now += archive.LONGEST_PAUSE
    desk.turn()
    assert [kind for kind, _ in desk.told] == ["archive_failed", "archive_failed", "archive_written_again"]
    assert archived(desk.folder).total() == 60 == len(archived(desk.folder))


def test_what_waits_leaves_memory_and_is_read_from_the_state(desk, monkeypatch):
    """An archive that is away for long costs no memory."""
    monkeypatch.setattr(archive, "ROOM", 20_000)
    desk.files.down = True
    for n in range(12):
        desk.turn(*burst(f"s{n}", 30, 30, NOW))
    parts = desk.archive._parts.values()
    assert sum(part.size for part in parts if part.content is not None) <= 20_000 < sum(part.size for part in parts)
    desk.begin()
    parts = desk.archive._parts.values()
    assert sum(part.size for part in parts if part.content is not None) <= 20_000
    desk.files.down = False
    desk.now += archive.EVERY
    desk.turn()
    assert archived(desk.folder).total() == 360


def test_many_events_are_written_at_once_and_in_bites(desk, monkeypatch):
    """Without waiting for the time; a long queue in several files, so that none is too large for memory."""
    monkeypatch.setattr(archive, "ROWS", 50)
    desk.turn(*burst("a", 30, 30, NOW))
    assert desk.names() == []
    desk.turn(*burst("b", 30, 30, NOW))
    assert len(desk.names()) == 1
    desk.files.down = True
    for n in range(6):
        desk.turn(*burst(f"s{n}", 30, 30, NOW))
    desk.files.down = False
    desk.now += archive.LONGEST_PAUSE
    desk.turn()
    assert len(desk.names()) == 1 + 3
    assert archived(desk.folder).total() == 240


def test_past_the_bound_the_oldest_is_let_go_and_that_is_said(desk, monkeypatch):
    """The disk of the state is not the archive's to fill. What is being written is not let go of."""
    desk.files.down = True
    desk.turn(*burst("s0", 30, 30, NOW))
    desk.now += archive.EVERY
    desk.turn()
    size = next(iter(desk.archive._parts.values())).size
    monkeypatch.setattr(archive, "MOST", int(2.5 * size))
    for n in range(1, 5):
        desk.turn(*burst(f"s{n}", 30, 30, NOW))
    assert (desk.archive.waiting(), desk.archive.dropped) == (60, 90)
    assert sum(body["events"] for kind, body in desk.told if kind == "archive_dropped") == 90
    assert len([name for name in desk.store.load() if name.startswith("archive/")]) == 2
    desk.files.down = False
    desk.now += archive.LONGEST_PAUSE
    desk.turn()
    assert set(archived(desk.folder).values()) == {1}
    assert archived(desk.folder).total() == 60


def test_writing_takes_a_part_of_a_turn_and_goes_on_in_the_next(desk):
    """Events of many hours are many files: each turn as many as there is time for; a restart begins the bite anew."""
    put = desk.files.put

    def slow(*args, **how):
        desk.spent += 1.0
        return put(*args, **how)

    desk.files.put = slow
    for n in range(12):
        desk.turn(*burst(f"s{n}", 3, 3, NOW - 3600 * n))
    desk.now += archive.EVERY
    written = []
    while desk.archive.waiting():
        desk.turn()
        written.append(len(desk.names()))
        if len(written) == 2:
            desk.begin()
    assert written[:2] == [3, 6]
    assert written[-1] == 12
    assert set(archived(desk.folder).values()) == {1}
    assert archived(desk.folder).total() == 36


def test_a_bite_is_bounded_and_long_queues_of_small_parts_are_worked_off(desk, monkeypatch):
    """A quiet daemon makes a small part a turn: after a long failure there are thousands of them."""
    monkeypatch.setattr(archive, "PARTS", 5)
    desk.files.down = True
    for n in range(23):
        desk.turn(*burst(f"s{n}", 2, 2, NOW))
    desk.files.down = False
    desk.now += archive.LONGEST_PAUSE
    desk.turn()
    assert len(desk.names()) == 5
    assert archived(desk.folder).total() == 46


def test_a_file_carries_no_texts_of_other_hours(desk):
    """Else each of a hundred files would hold what all of them do."""
    for n in range(40):
        desk.turn(*burst(f"s{n}", 50, 50, NOW - 3600 * n, prefix=f"raw/{n}/"))
    desk.now += archive.EVERY
    desk.turn()
    sizes = [(desk.folder / name).stat().st_size for name in desk.names()]
    assert len(sizes) == 40
    assert max(sizes) < 40_000


def test_a_part_that_cannot_be_read_costs_its_bite_and_not_the_daemon(desk):
    """It would end it at every start: what is lost to the archive is said, and the log files still have it."""
    desk.turn(*burst("a", 3, 3, NOW))
    [number] = desk.archive._parts
    part = desk.archive._parts[number]
    desk.store.save({f"archive/{number:010x}": part.content[: part.content.index(b"\n") + 1] + b"no Parquet"})
    desk.begin()
    desk.turn(*burst("b", 3, 3, NOW))
    desk.now += archive.EVERY
    desk.turn()
    desk.turn(*burst("c", 3, 3, NOW))
    desk.now += archive.EVERY
    desk.turn()
    [(kind, body)] = desk.told
    assert (kind, body["events"]) == ("archive_dropped", 6)
    assert "Parquet" in body["error"]
    assert archived(desk.folder).total() == 3


def test_when_the_daemon_must_end_nothing_is_begun(desk):
    """What waits stays in the checkpoint, for the next start."""
    desk.turn(*burst("a", 3, 3, NOW))
    desk.drain.end()
    desk.now += archive.EVERY
    desk.turn()
    assert desk.names() == []
    desk.begin()
    desk.now += archive.EVERY
    desk.turn()
    assert archived(desk.folder).total() == 3


def test_a_state_that_was_restored_from_a_copy_writes_over_nothing(desk, tmp_path):
    """Its numbers come a second time, but not its files' names: what was archived since the copy stays."""
    desk.turn(*burst("a", 3, 3, NOW))
    copy = dict(desk.store.load())
    desk.turn(*burst("b", 3, 3, NOW))
    desk.now += archive.EVERY
    desk.turn()
    desk.store.save(dict.fromkeys(desk.store.load()) | copy)
    desk.begin()
    desk.turn(*burst("c", 3, 3, NOW))
    desk.now += archive.EVERY
    desk.turn()
    assert len(archived(desk.folder)) == 9


def test_a_new_state_writes_over_nothing(tmp_path):
    """It numbers anew, under a name of its own."""
    for n in range(2):
        folder = tmp_path / str(n)
        folder.mkdir()
        desk = Desk(folder)
        desk.files = Down(FolderFiles(tmp_path / "archive"))
        desk.begin()
        desk.turn(*burst(f"s{n}", 3, 3, NOW))
        desk.now += archive.EVERY
        desk.turn()
        desk.store.close()
    assert archived(tmp_path / "archive").total() == 6


def test_an_archive_that_is_taken_out_of_the_config_leaves_the_state(desk):
    """What still waited is said to be lost."""
    desk.files.down = True
    desk.turn(*burst("a", 3, 3, NOW))
    desk.begin(wanted=False)
    desk.turn(*burst("b", 3, 3, NOW))
    assert desk.told == [("archive_dropped", {"events": 3})]
    assert [name for name in desk.store.load() if name.startswith("archive/")] == []


def test_a_file_has_every_column_that_the_log_knows(desk):
    """The contract's, whatever the rules ask for."""
    desk.turn(*burst("a", 3, 3, NOW))
    [part] = desk.archive._parts.values()
    table = parquet.read_table(io.BytesIO(part.content.split(b"\n", 1)[1]))
    assert {"key", "user_agent", "request_id", "tls", "purpose", "issued_at"} <= set(table.column_names)
    assert set(table["user_agent"].to_pylist()) != {None}
