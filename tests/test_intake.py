"""Laws of steps 2 and 3: order, bounds, what is put aside."""

import json
import signal
import threading
import time

import pytest

from detector.core.admit import Admission
from detector.core.builder import COLUMNS
from detector.core.dedup import Seen
from detector.drain import Drain
from detector.edges import Edges
from detector.errors import EdgeError
from detector.intake import Fetching, Intake, Loader
from detector.local.files import FolderFiles
from detector.logs.limits import LIMITS
from detector.logs.read import read
from detector.outbox import Outbox
from detector.source import Message, Notice
from replay.example_day import burst

NOW = 1_777_626_000


class Stored:
    """A source whose objects lie in a dict; how much is fetched at a time is kept."""

    def __init__(self, redrives=False, **objects) -> None:
        self.objects, self.redrives = objects, redrives
        self.now = self.most = 0
        self.lock = threading.Lock()

    def fetch(self, notice):
        if notice.data is not None:
            return notice.data
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.002 * (int(notice.version or 0) % 3))
        with self.lock:
            self.now -= 1
        found = self.objects[notice.key]
        if isinstance(found, Exception):
            raise found
        return found


class Refusing:
    """A quarantine that cannot be written."""

    def __init__(self, *, retryable=False) -> None:
        self.retryable = retryable

    def put(self, *_, **__):
        raise EdgeError("could not write", retryable=self.retryable)


class Desk:
    """An intake with a journal in memory; what it has marked, it knows at the next read."""

    def __init__(self, source, folder, threads=4, memory=1 << 20) -> None:
        edges = self.edges = Edges(source, None, [], None, quarantine=FolderFiles(folder))
        self.said, self.folder = [], folder
        self.drain = Drain()
        self.outbox = Outbox(edges, 0, say=self.say, clock=lambda: NOW, drain=self.drain)
        self.files = Seen("files")
        self.intake = Intake(
            edges,
            self.outbox,
            self.files,
            Admission(),
            LIMITS,
            Fetching(threads, memory),
            say=self.say,
            drain=self.drain,
        )
        self.intake.columns = COLUMNS

    def say(self, event, **fields):
        self.said.append((event, fields))

    def read(self, *messages):
        taken = self.intake.read(messages)
        self.files.remember(taken.marked, taken.marked.astype("int64") * 0 + NOW)
        return taken

    def noted(self, kind):
        return [entry.body for entry in self.outbox.entries if entry.kind == kind]


def log(records):
    return json.dumps({"Records": records}).encode()


def message(n, size=0):
    return Message(f"m{n}", (Notice(f"s3://logs/{n}", bucket="logs", key=f"k{n}", version=str(n), size=size),))


def test_files_are_read_in_the_order_of_their_messages_whichever_comes_first(tmp_path):
    """The same poll makes the same batch, with one thread and with many."""
    files = {f"k{n}": log(burst(f"s{n}", 3, 3, NOW)) for n in range(40)}
    batches = []
    for threads in (1, 8):
        source = Stored(**files)
        taken = Desk(source, tmp_path, threads).read(*map(message, range(40)))
        assert len(taken.done) == 40
        batches.append(taken.batch.text["key"].texts())
        assert (source.most > 1) == (threads > 1)
    assert batches[0] == batches[1]


def test_no_more_is_fetched_ahead_than_memory_allows():
    """What is on its way or waits to be read stays below the bound; a file larger than it all comes by itself."""
    source = Stored(**{f"k{n}": b"x" * 1000 for n in range(30)})
    loader = Loader(source.fetch, Fetching(8, 2500))
    notices = [message(n, size=1000).notices[0] for n in range(30)] + [message(3, size=10_000).notices[0]]
    loader.plan(notices)
    for notice in notices:
        assert loader.held() <= 2500 or notice is notices[-1]
        assert loader.get(notice) == b"x" * 1000
    assert source.most <= 2
    loader.close()


def test_a_batch_is_bounded_and_the_rest_stays_in_hand(tmp_path, monkeypatch):
    """Messages past the bound are read in the next turns, each once."""
    monkeypatch.setattr("detector.intake.ROWS", 10)
    desk = Desk(Stored(**{f"k{n}": log(burst(f"s{n}", 4, 4, NOW)) for n in range(7)}), tmp_path)
    first = desk.read(*map(message, range(7)))
    assert (len(first.batch), len(first.done), len(desk.intake)) == (12, 3, 4)
    second, third = desk.read(), desk.read()
    assert (len(second.batch), len(third.batch), len(desk.intake)) == (12, 4, 0)


def test_a_file_that_fails_leaves_only_its_own_message(tmp_path):
    """Others are read; what will never heal is journalled once, what may heal is only said."""
    refused = EdgeError("could not read: AccessDenied")
    slow = EdgeError("could not read: SlowDown", retryable=True)
    desk = Desk(Stored(k0=log(burst("a", 2, 2, NOW)), k1=refused, k2=slow, k3=log(burst("b", 2, 2, NOW))), tmp_path)
    for _ in range(3):
        taken = desk.read(*map(message, range(4)))
        assert [m.id for m in taken.left] == ["m1", "m2"]
        assert [m.id for m in taken.done] == ["m0", "m3"]
    assert [body["file"] for body in desk.noted("unfetched")] == ["s3://logs/1"]
    assert len(desk.said) == 6


@pytest.mark.parametrize("redrives", [True, False])
def test_poison_is_kept_journalled_once_and_left_to_the_dead_letters(tmp_path, redrives):
    """Its bytes are in quarantine, once; where there is no dead-letter queue it is done with."""
    poison = Message("p", problem="no known envelope", body=b"\x00 what?")
    desk = Desk(Stored(redrives), tmp_path / "q")
    first, second = desk.read(poison), desk.read(poison)
    for taken in (first, second):
        assert (taken.left, taken.done) == (([poison], []) if redrives else ([], [poison]))
    assert (first.messages, second.messages) == ([poison], [])
    (body,) = desk.noted("quarantine")
    (kept,) = (tmp_path / "q").iterdir()
    assert kept.read_bytes() == b"\x00 what?"
    assert body == {"message": "p", "reason": "no known envelope", "kept": str(kept)}


def test_what_cannot_be_kept_now_is_not_given_up(tmp_path):
    """A quarantine that is away: the message comes again and is seen; it is not journalled before it is kept."""
    desk = Desk(Stored(), tmp_path)
    desk.edges.quarantine = Refusing(retryable=True)
    taken = desk.read(Message("p", problem="odd", body=b"x"))
    assert [m.id for m in taken.left] == ["p"] == [m.id for m in taken.messages]
    assert desk.noted("quarantine") == []
    assert len(taken.marked) == 0


def test_a_quarantine_that_may_not_be_written_is_said_in_the_journal(tmp_path):
    """No later try would help: the message is dealt with, and the journal says that nothing was kept of it."""
    desk = Desk(Stored(), tmp_path)
    desk.edges.quarantine = Refusing()
    for _ in range(2):
        assert [m.id for m in desk.read(Message("p", problem="odd", body=b"x")).done] == ["p"]
    assert desk.noted("quarantine") == [{"message": "p", "reason": "odd", "kept": "nowhere: could not write"}]


@pytest.mark.parametrize("threads", [1, 4])
def test_once_the_daemon_is_to_end_no_file_is_begun(tmp_path, threads):
    """What is in hand is read no further, and stays in hand: the source gives it to whoever comes next."""
    source = Stored(**{f"k{n}": log(burst(f"s{n}", 3, 3, NOW)) for n in range(9)})
    desk = Desk(source, tmp_path, threads)
    desk.drain.ask()
    taken = desk.read(*map(message, range(9)))
    assert (len(taken.left), len(taken.done), len(taken.batch), source.most) == (0, 0, 0, 0)
    assert len(desk.intake) == 9


@pytest.mark.parametrize("threads", [1, 4])
def test_a_fetch_that_hangs_is_given_up_when_the_time_is_over(tmp_path, threads):
    """Whether the loop itself fetches or a thread does: the files before it count, this one and later ones do not."""
    going_on = threading.Event()

    class Hanging(Stored):
        def fetch(self, notice):
            if notice.key == "k1":
                going_on.wait(20)
            return super().fetch(notice)

    desk = Desk(Hanging(**{f"k{n}": log(burst(f"s{n}", 3, 3, NOW)) for n in range(3)}), tmp_path, threads)
    before = signal.signal(signal.SIGALRM, lambda *_: desk.drain.end())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        taken = desk.read(*map(message, range(3)))
    finally:
        going_on.set()
        signal.signal(signal.SIGALRM, before)
    assert [m.id for m in taken.done] == ["m0"]
    assert taken.left == []
    assert len(desk.intake) == 2
    assert len(taken.batch) == 3


def test_a_turn_ends_in_time_however_slow_the_files_are(tmp_path, monkeypatch):
    """What was read by then counts, and is told of; the rest is read in the next turns."""
    monkeypatch.setattr("detector.intake.SECONDS", 0.05)

    class Slow(Stored):
        def fetch(self, notice):
            time.sleep(0.02)
            return super().fetch(notice)

    desk = Desk(Slow(**{f"k{n}": log(burst(f"s{n}", 3, 3, NOW)) for n in range(12)}), tmp_path, threads=1)
    done = [len(desk.read(*map(message, range(12))).done)]
    while len(desk.intake):
        done.append(len(desk.read().done))
    assert sum(done) == 12
    assert len(done) > 2


def test_a_message_with_many_files_is_read_in_bites(tmp_path, monkeypatch):
    """It is done with when all of them are read, each once; batches stay bounded."""
    monkeypatch.setattr("detector.intake.ROWS", 10)
    files = {f"k{n}": log(burst(f"s{n}", 4, 4, NOW)) for n in range(7)}
    notices = tuple(Notice(f"s3://logs/{n}", bucket="logs", key=f"k{n}", version=str(n)) for n in range(7))
    desk, rows, done = Desk(Stored(**files), tmp_path), [], []
    taken = desk.read(Message("m", notices), message(0))
    while len(desk.intake):
        rows.append(len(taken.batch))
        done.append(len(taken.done))
        taken = desk.read()
    assert (rows, done) == ([12, 12], [0, 0])
    assert len(taken.batch) == 4
    assert [m.id for m in taken.done] == ["m", "m0"]


def test_no_more_is_kept_of_a_message_than_one_may_have(tmp_path):
    """A file that no parser can bear may be large: a mebibyte tells enough of it."""
    desk = Desk(Stored(), tmp_path)
    desk.read(Message("p", problem="odd", body=b"y" * (3 << 20)))
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [1 << 20]


def inline(n, *records):
    return Message(f"i{n}", (Notice(f"sqs:i{n}", data=json.dumps({"Records": list(records)}).encode()),))


def test_records_in_messages_are_read_as_one_file(tmp_path, monkeypatch):
    """One call of the parser for all of them, with the same records."""
    calls = []

    def reading(data, name, *rest):
        calls.append(name)
        return read(data, name, *rest)

    for place in ("detector.intake.read", "detector.logs.read.read"):
        monkeypatch.setattr(place, reading)
    records = burst("s", 50, 50, NOW)
    taken = Desk(Stored(), tmp_path).read(*(inline(n, record) for n, record in enumerate(records)))
    assert len(taken.batch) == 50
    assert len(taken.done) == 50
    assert calls == ["sqs"]


@pytest.mark.parametrize(
    "odd",
    [{}, {"eventTime": "2026-05-01T00:00:00Z"}, {"eventName": 7}, "text", None, {"eventTime": "x", "eventName": "y"}],
)
def test_an_odd_record_among_them_changes_nothing_for_the_others(tmp_path, odd):
    """Records, rejects and journal are those of each message read by itself."""
    records = [*burst("s", 5, 5, NOW), odd, *burst("t", 5, 5, NOW)]
    together = Desk(Stored(), tmp_path)
    batch = together.read(*(inline(n, record) for n, record in enumerate(records))).batch
    alone, rows, rejects = Desk(Stored(), tmp_path), [], []
    for n, record in enumerate(records):
        one = alone.read(inline(n, record)).batch
        rows += one.id.tolist()
        rejects += one.rejects
    assert sorted(batch.id.tolist()) == sorted(rows)
    assert batch.rejects == rejects
    assert together.noted("ignored") == alone.noted("ignored")
