"""Laws of the lease in S3 beyond the contract: lost replies, races, pauses, an unreachable store. By the test's clock.

The duration is 10 s: a holder trusts a write for 8 s.
"""

import json
from typing import ClassVar

import pytest

from detector.aws.lease import S3Lease
from detector.errors import InputError, StateError
from tests.faults import FaultyServer


class Clock:
    """Stands still but for those who sleep."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def faults(moto_server):
    with FaultyServer(moto_server) as faults:
        yield faults


@pytest.fixture
def world(aws, faults, monkeypatch):
    """Makes leases behind the proxy; none renews by itself: tests call `_write`."""
    bucket = aws.bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
    monkeypatch.setattr(S3Lease, "_start_beating", lambda self: None)

    class World:
        clock: ClassVar = Clock()
        said: ClassVar = []

        def lease(self):
            return S3Lease(
                bucket,
                "p",
                duration=10,
                clock=self.clock,
                sleep=self.clock.sleep,
                say=lambda event, **fields: self.said.append((event, fields)),
            )

        def body(self):
            return json.loads(aws.client("s3").get_object(Bucket=bucket, Key="p/lease")["Body"].read())

        def put(self, body):
            aws.client("s3").put_object(Bucket=bucket, Key="p/lease", Body=body)

        def delete(self):
            aws.client("s3").delete_object(Bucket=bucket, Key="p/lease")

    return World()


def never():
    return False


def renew(lease):
    lease._write(lease._guarded())


def test_it_is_trusted_from_before_the_write_was_sent_and_less_than_its_duration(world, faults):
    """What the write took is not added: the one who waits may count from the moment it took effect."""
    lease = world.lease()
    faults.add("PUT", "lease", then=lambda: world.clock.sleep(3))
    assert lease.acquire(0, never)
    world.clock.sleep(4.9)
    assert lease.held()
    world.clock.sleep(0.2)
    assert not lease.held()


def test_it_is_taken_over_only_after_a_whole_duration_without_a_change(world):
    """Seen by the clock of the one who waits; a renewal starts the wait anew."""
    first, second = world.lease(), world.lease()
    assert first.acquire(0, never)
    assert not second.acquire(9, never)
    renew(first)
    assert not second.acquire(9, never)
    began = world.clock.now
    assert second.acquire(60, never)
    assert world.clock.now - began >= 10
    assert not first.held()
    assert (first.epoch, second.epoch) == (1, 2)


def test_a_paused_holder_learns_that_it_is_out_and_changes_nothing(world):
    """By the clock at once; by its next renewal for good."""
    first, second = world.lease(), world.lease()
    assert first.acquire(0, never)
    assert second.acquire(60, never)
    assert not first.held()
    first._ended.wait = lambda _: False
    first._renew()
    assert not first.held()
    assert first.other == second.me
    assert ("lease_lost", {"epoch": 1, "holder": second.me}) in world.said
    assert world.body()["holder"] == second.me
    first.release()
    assert not world.body()["released"]


def test_a_lost_reply_to_our_own_write_is_no_loss(world, faults):
    """The retry is refused because of our own first attempt: the body says so. In taking, renewing and releasing."""
    lease = world.lease()
    for step in (lambda: lease.acquire(0, never), lambda: renew(lease), lease.release):
        faults.add("PUT", "lease", after=True)
        step()
    assert (world.body()["holder"], world.body()["released"]) == (lease.me, True)
    assert world.lease().acquire(0, never)


def test_writes_of_which_no_reply_comes_at_all_are_known_as_ours_later(world, faults):
    """Every attempt of one renewal takes effect or not, nobody can tell; the next renewal finds our own body."""
    lease = world.lease()
    assert lease.acquire(0, never)
    cut = faults.add("PUT", "lease", times=1, after=True)
    lost = faults.add("GET", "lease", times=-1, before=True)
    with pytest.raises(Exception, match="could not"):
        renew(lease)
    assert cut.times == 0
    lost.times = 0
    renew(lease)
    assert lease.held()


def test_a_race_is_tried_again(world, faults):
    """409 decides nothing."""
    lease = world.lease()
    faults.add("PUT", "lease", answer=(409, "ConditionalRequestConflict"))
    assert lease.acquire(0, never)
    faults.add("PUT", "lease", answer=(409, "ConditionalRequestConflict"))
    renew(lease)
    assert lease.held()


def test_of_two_that_find_it_free_one_gets_it(world, monkeypatch):
    """The second writes between the first one's look and write, however long that takes."""
    first, second = world.lease(), world.lease()
    write = first._write
    monkeypatch.setattr(first, "_write", lambda guarded: (second.acquire(0, never), write(guarded)))
    assert not first.acquire(0, never)
    assert second.held()
    assert not first.held()


@pytest.mark.parametrize(
    "fault",
    [
        {"answer": (503, "SlowDown")},
        {"answer": (500, "InternalError")},
        {"answer": (403, "ExpiredToken")},
        {"before": True},
    ],
)
def test_a_store_that_cannot_be_reached_is_waited_for_and_then_the_lease_is_lost_by_the_clock(world, faults, fault):
    """Whoever waits goes on waiting and says so once; who holds it trusts it no longer than its last write."""
    lease = world.lease()
    down = faults.add("GET", "lease", times=12, **fault)
    assert lease.acquire(60, never)
    assert down.times == 0
    assert [event for event, _ in world.said].count("lease_unreachable") == 1
    down = faults.add("PUT", "lease", times=-1, **fault)
    with pytest.raises(Exception, match="could not"):
        renew(lease)
    assert lease.held()
    world.clock.sleep(8)
    assert not lease.held()


def test_a_deleted_lease_is_lost(world):
    """Somebody cleared the prefix under a running daemon: it stops, and the next one begins."""
    first = world.lease()
    assert first.acquire(0, never)
    world.delete()
    first._ended.wait = lambda _: False
    first._renew()
    assert not first.held()
    assert world.lease().acquire(0, never)


@pytest.mark.parametrize("body", [b"", b"hello", b'{"schema": "bucketwatch.lease.v9"}', b"[]"])
def test_what_is_no_lease_is_refused(world, body):
    """Somebody else's object, or another version's, is neither read nor overwritten."""
    world.put(body)
    with pytest.raises(StateError) as caught:
        world.lease().acquire(60, never)
    assert caught.value.remedy
    assert "p/lease" in caught.value.where


def test_a_bucket_that_does_not_exist_or_is_forbidden_is_said_at_once(world, faults):
    """No waiting for what a person has to mend."""
    with pytest.raises(InputError, match="no such bucket"):
        S3Lease("never-made-by-anybody", "", clock=world.clock, sleep=world.clock.sleep).acquire(60, never)
    faults.add("GET", "lease", answer=(403, "AccessDenied"))
    with pytest.raises(StateError, match="AccessDenied"):
        world.lease().acquire(60, never)
