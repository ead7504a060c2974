"""Two daemons as processes on one queue and one state: a rolling deploy, a kill, a pause. On S3 and on SQLite."""

import os
import signal
import subprocess
import time
from contextlib import ExitStack

import pytest

from detector.aws.state import S3State
from detector.core.times import iso
from detector.journal import verify
from tests.e2e import test_daemon_aws as one
from tests.e2e.test_daemon_directory import PROGRAM, SECONDS, Running, packed

LEASE = 3
VISIBLE_AGAIN = "4"
"""Seconds after which the queue delivers again what a daemon took along when it was killed."""
S3 = '{{kind: s3, bucket: "{state}", prefix: "a/b", lease: 3s}}\nhttp: {{port: 0}}'
SQLITE = "{{kind: sqlite, path: {folder}/state.db}}"


class Daemon(Running):
    """One of several with one configuration, each with a log of its own."""

    def __init__(self, account, name, *options) -> None:
        self.log = account.folder / f"{name}.log"
        command = [str(PROGRAM), "watch", "--config", str(account.folder / "bucketwatch.yaml"), *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)

    def ready(self) -> None:
        self.wait_until(lambda: self.get("/readyz")[0] == 200)

    def has_read(self, records) -> None:
        self.wait_until(lambda: self.metrics()["bucketwatch_records_total"] == records)

    def send(self, number) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(SECONDS)


class Pair(one.Account):
    """An account whose state is in S3 (or SQLite), and the daemons on it."""

    def __init__(self, aws, folder, stack, kind) -> None:
        super().__init__(aws, folder)
        self.kind, self.stack, self.state = kind, stack, aws.bucket()
        self.make_topic()
        self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"VisibilityTimeout": VISIBLE_AGAIN})
        text = one.CONFIG.replace(SQLITE, S3 if kind == "s3" else f"{SQLITE}\nhttp: {{{{port: 0}}}}")
        names = {"folder": folder, "bucket": self.bucket, "account": one.ACCOUNT, "topic": self.topic}
        config = text.format(queue=self.queue, mode="enforce", state=self.state, **names)
        (folder / "bucketwatch.yaml").write_text(config)

    def start(self, name, *options) -> Daemon:
        made = Daemon(self, name, *options)
        self.stack.callback(made.process.wait)
        self.stack.callback(made.process.kill)
        return made

    def books(self):
        if self.kind != "s3":
            return one.books(self.folder)
        store = S3State(self.state, "a/b")
        found = one_of(store.load())
        store.close()
        return found

    def is_whole(self, records, duplicates) -> None:
        """After everything: the books are those of one daemon, the theft was told once each, and denied once."""
        last = self.start("last", "--until-idle", "1", "--close")
        assert last.ended() == 0, last.log.read_text()
        opened, closed = self.alerts(2)
        assert (opened["state"], closed["state"]) == ("opened", "closed")
        assert opened["alert_id"] == closed["alert_id"]
        assert closed["peak_value"] == 60
        assert closed["opened_at"] == iso(self.began - 120 + 39)
        assert len(self.policies()) == 1
        kept = self.books()
        assert (kept["records"], kept["duplicates"]) == (records, duplicates)
        assert self.waiting() == [0, 0]
        assert verify(self.folder / "journal.jsonl") == []
        told = [(b["alert_id"], b["state"]) for b in self.journal("finding")]
        assert len(told) == len(set(told)) == 2


def one_of(parts):
    import msgspec

    return msgspec.msgpack.decode(parts["engine"])["books"]


@pytest.fixture(params=["s3", "sqlite"])
def pair(request, aws, tmp_path):
    with ExitStack() as stack:
        yield Pair(aws, tmp_path, stack, request.param)


@pytest.fixture
def on_s3(aws, tmp_path):
    with ExitStack() as stack:
        yield Pair(aws, tmp_path, stack, "s3")


def test_a_rolling_deploy_loses_and_doubles_nothing(pair):
    """The second waits, alive and not ready, and says for whom; it takes over within seconds of the first's SIGTERM."""
    records = pair.theft()
    first = pair.start("first")
    first.ready()
    pair.put("1", packed(records[:35]))
    first.has_read(35)
    second = pair.start("second")
    waiting = second.wait_for("waiting_for_lease")
    assert str(first.process.pid) in waiting["holder"]
    assert (second.get("/healthz")[0], second.get("/readyz")[0], second.get("/metrics")[0]) == (200, 503, 200)
    pair.put("2", packed(records[30:38]))
    first.has_read(43)
    first.send(signal.SIGTERM)
    assert first.ended() == 0, first.log.read_text()
    gone = time.monotonic()
    second.ready()
    assert time.monotonic() - gone < 5
    pair.put("3", packed(records[36:]))
    second.has_read(43 + 24)
    second.send(signal.SIGTERM)
    assert second.ended() == 0, second.log.read_text()
    pair.is_whole(43 + 24, 5 + 2)


def test_one_that_is_killed_is_succeeded_after_its_lease(pair):
    """kill -9 with a message in hand: the second begins when the lease has run out, and the queue delivers again."""
    records = pair.theft()
    first, second = pair.start("first"), None
    first.ready()
    second = pair.start("second")
    second.wait_for("waiting_for_lease")
    pair.put("1", packed(records[:35]))
    first.has_read(35)
    pair.put("2", packed(records[30:]))
    first.send(signal.SIGKILL)
    gone = time.monotonic()
    assert first.ended() == -signal.SIGKILL
    second.ready()
    assert time.monotonic() - gone < LEASE + 5
    second.has_read(65)
    second.send(signal.SIGTERM)
    assert second.ended() == 0, second.log.read_text()
    pair.is_whole(65, 5)


def test_one_that_is_stopped_past_its_lease_does_nothing_more_when_it_goes_on(on_s3):
    """SIGSTOP: the second takes over and tells of the theft. SIGCONT: the first says it lost its lease, and ends."""
    records = on_s3.theft()
    first, second = on_s3.start("first"), None
    first.ready()
    on_s3.put("1", packed(records[:35]))
    first.has_read(35)
    second = on_s3.start("second")
    second.wait_for("waiting_for_lease")
    first.send(signal.SIGSTOP)
    stopped = time.monotonic()
    on_s3.put("2", packed(records[30:]))
    second.ready()
    assert LEASE - 1 < time.monotonic() - stopped < LEASE + 5
    second.has_read(65)
    first.send(signal.SIGCONT)
    assert first.ended() == 1
    said = first.log.read_text()
    assert "lease" in said
    assert "Traceback" not in said
    assert str(second.process.pid) in said
    assert second.get("/readyz")[0] == 200
    second.send(signal.SIGTERM)
    assert second.ended() == 0, second.log.read_text()
    on_s3.is_whole(65, 5)


def test_sigterm_while_waiting_ends_at_once(pair):
    """A deploy that is rolled back: the one that waited goes, the other does not notice."""
    first = pair.start("first")
    first.ready()
    second = pair.start("second", "--until-idle", "0")
    second.wait_for("waiting_for_lease")
    began = time.monotonic()
    time.sleep(1)  # `--until-idle` does not count while it waits
    assert second.process.poll() is None
    second.send(signal.SIGTERM)
    assert second.ended() == 0
    assert time.monotonic() - began < 5
    assert first.get("/readyz")[0] == 200
    assert first.process.poll() is None


def test_a_state_bucket_that_does_not_exist_is_the_configs_mistake(on_s3):
    """Exit 2 with its name and the key to mend, and nothing was read."""
    on_s3.aws.client("s3").delete_bucket(Bucket=on_s3.state)
    ended = on_s3.start("first", "--until-idle", "0")
    assert ended.ended() == 2
    assert on_s3.state in ended.log.read_text()
    assert "state.bucket" in ended.log.read_text()


def test_a_state_store_that_goes_away_ends_the_daemon_and_loses_nothing(on_s3):
    """What cannot be saved is not acknowledged: exit 1 with a remedy, and the next one counts it."""
    records = on_s3.theft()
    proxy = on_s3.stack.enter_context(one_faulty(on_s3.aws.url))
    os.environ["AWS_ENDPOINT_URL_S3"] = proxy.url
    on_s3.stack.callback(os.environ.pop, "AWS_ENDPOINT_URL_S3")
    first = on_s3.start("first")
    first.ready()
    on_s3.put("1", packed(records[:35]))
    first.has_read(35)
    for method in ("PUT", "GET"):
        proxy.add(method, f"/{on_s3.state}/", times=-1, answer=(503, "ServiceUnavailable"))
    on_s3.put("2", packed(records[30:]))
    assert first.ended() == 1
    assert "Traceback" not in first.log.read_text()
    assert on_s3.state in first.log.read_text() or "lease" in first.log.read_text()
    proxy.faults.clear()
    second = on_s3.start("second")
    second.has_read(65)
    second.send(signal.SIGTERM)
    assert second.ended() == 0, second.log.read_text()
    on_s3.is_whole(65, 5)


def one_faulty(url):
    from tests.faults import FaultyServer

    return FaultyServer(url)
