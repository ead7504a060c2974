"""The laws of a lease, over every lease there is: one holder, who is known, and whose end lets the next one in."""

import threading
import time

import pytest

from detector.aws.lease import S3Lease
from detector.errors import StateError
from detector.local.lease import FileLease
from detector.local.sqlite import SqliteState

SECONDS = 10


@pytest.fixture(params=["file", "s3"])
def make(request, tmp_path):
    """Makes a lease of the same state each time, and says into `make.said` what the program's log would get."""
    said = []

    def say(event, **fields):
        said.append((event, fields))

    if request.param == "file":

        def made(duration=2):
            return FileLease(tmp_path / "deep" / "state.db", say=say)

    else:
        bucket = request.getfixturevalue("aws").bucket()

        def made(duration=2):
            return S3Lease(bucket, "some/prefix", duration=duration, say=say)

    made.said = said
    return made


def never():
    return False


def waited_for(make, longest=SECONDS):
    """Whether the log got whom somebody waits for, within so many seconds."""
    until = time.monotonic() + longest
    while not any(event == "waiting_for_lease" for event, _ in make.said):
        if time.monotonic() >= until:
            return False
        time.sleep(0.01)
    return True


def vanish(lease):
    """What the system does for a process that is killed."""
    lease.fall_silent() if isinstance(lease, S3Lease) else lease.release()


def test_the_first_gets_it_and_has_it(make):
    """Nobody has it before, and nobody after it was given back; giving it back twice does no harm."""
    lease = make()
    assert not lease.held()
    assert lease.acquire(0, never)
    assert lease.held()
    lease.release()
    assert not lease.held()
    lease.release()


def test_there_is_one_holder(make):
    """A second one that will not wait is turned away, and knows by whom."""
    first, second = make(), make()
    assert first.acquire(0, never)
    assert not second.acquire(0, never)
    assert not second.held()
    assert second.other
    second.release()
    assert first.held()
    first.release()


def test_who_waits_gets_it_soon_after_it_is_given_back(make):
    """Long before the lease's duration is over, and not before the release; the log says once whom it waited for."""
    first, second = make(60), make(60)
    assert first.acquire(0, never)
    released = []

    def release():
        released.append(waited_for(make))
        first.release()

    releasing = threading.Thread(target=release)
    releasing.start()
    assert second.acquire(SECONDS, never)
    releasing.join()
    assert released == [True]
    assert [event for event, _ in make.said].count("waiting_for_lease") == 1
    assert next(fields["holder"] for event, fields in make.said if event == "waiting_for_lease") == second.other
    second.release()


def test_who_waits_can_be_told_to_stop(make):
    """Soon, and without the lease."""
    first, second = make(60), make(60)
    assert first.acquire(0, never)
    began = time.monotonic()
    assert not second.acquire(6 * SECONDS, lambda: waited_for(make, 0))
    assert time.monotonic() - began < SECONDS
    assert not second.held()
    first.release()


def test_a_holder_that_is_gone_without_a_word_is_succeeded(make):
    """After the lease's duration at the latest, and then the old one does not hold it either."""
    first, second = make(), make()
    assert first.acquire(0, never)
    vanish(first)
    assert second.acquire(SECONDS, never)
    assert not first.held()
    assert second.held()
    assert second.epoch > first.epoch or second.epoch == first.epoch == 0
    second.release()


def test_a_holder_that_goes_on_is_not_succeeded(make):
    """It is held for longer than its duration as long as the holder lives."""
    first, second = make(), make()
    assert first.acquire(0, never)
    assert not second.acquire(3.5, never)
    assert first.held()
    first.release()


def test_it_goes_round(make):
    """Who gave it back may have it again."""
    leases = [make(), make()]
    for lease in leases * 2:
        assert lease.acquire(SECONDS, never)
        lease.release()


def test_a_deleted_lock_file_makes_its_holder_stop(tmp_path):
    """Somebody else can lock a new file of that name: the one whose file is gone no longer counts as the one."""
    first, second = FileLease(tmp_path / "state.db"), FileLease(tmp_path / "state.db")
    assert first.acquire(0, never)
    (tmp_path / "state.db.lock").unlink()
    assert not first.held()
    assert second.acquire(0, never)
    assert not first.held()
    assert second.held()


def test_a_store_without_a_lease_takes_its_own(tmp_path):
    """Tools that open the state file do not do so beside a daemon."""
    lease = FileLease(tmp_path / "state.db")
    assert lease.acquire(0, never)
    with pytest.raises(StateError, match="another bucketwatch"):
        SqliteState(tmp_path / "state.db")
    SqliteState(tmp_path / "state.db", lease).close()
    assert lease.held()
    lease.release()
