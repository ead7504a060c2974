"""kill -9, for real, at every numbered step of the loop, on both state stores, with redelivery of everything.

A process runs the story of `test_consumer_crash` and ends itself by SIGKILL at a place; the next one goes on. What a
crash that is only raised cannot show: that nothing was needed which the process would have done on its way out.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detector import archive
from tests.crash.test_consumer_crash import Fuse, Queue, Twin, World, bucket, outcome  # noqa: F401  a fixture

STEPS = {
    "1 receive": "after receive",
    "2 fetch": "after fetch",
    "3 parse": "before process",
    "4 engine": "after advance",
    "5 checkpoint": "before save",
    "5 checkpoint, done": "after save",
    "6 journal": "after append",
    "7 publish": "after send",
    "8 respond": "after apply",
    "9 acknowledge": "after acknowledge",
    "archive": "after put",
}


class Kept(Twin):
    """A responder whose policies outlive the process."""

    def __init__(self, path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            self.standing = json.loads(path.read_text())

    def apply(self, plan):
        applied = super().apply(plan)
        self._path.write_text(json.dumps(self.standing))
        return applied


class Kill(Fuse):
    """Ends the process, for good, at the n-th time that a place is passed (0: never)."""

    def __init__(self, place="", times=0) -> None:
        super().__init__()
        self.place, self.times = place, times

    def pass_by(self, place):
        super().pass_by(place)
        if place == self.place and self.passed.count(place) == self.times:
            os.kill(os.getpid(), signal.SIGKILL)


def story(folder, bucket_, place="", times=0):
    """The whole story in this process."""
    world = World(Path(folder), Queue, bucket_)
    world.responder = Kept(world.folder / "denied.json")
    return world, world.run(Kill(place, times))


def process(folder, bucket_, place, times):
    """The story in a process of its own, up to where it is killed; its exit status."""
    root = Path(__file__).resolve().parents[2]
    script = (
        "import sys; from detector import archive; from tests.crash.test_killed import story; "
        "archive.EVERY = 0; story(*sys.argv[1:4], int(sys.argv[4]))"
    )
    command = [sys.executable, "-c", script, str(folder), bucket_, place, str(times)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode in {-signal.SIGKILL, 0}, ended.stderr
    return ended.returncode


CASES = [(store, step) for store in ("sqlite", "s3") for step in STEPS if (store, step) != ("s3", "archive")]
"""The story over S3 has no archive."""


@pytest.fixture(autouse=True, scope="module")
def _the_archive_is_written_every_turn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "EVERY", 0)
        yield


@pytest.fixture(scope="module")
def unkilled(request, tmp_path_factory):
    """The state's bucket (or none), and what comes out of a run that nobody kills."""
    on = request.getfixturevalue("bucket") if request.param == "s3" else ""
    return on, outcome(*story(tmp_path_factory.mktemp("unkilled"), on))


@pytest.mark.parametrize(("unkilled", "step"), CASES, indirect=["unkilled"])
def test_a_process_that_is_killed_at_a_step_changes_nothing(unkilled, tmp_path, step):
    """Killed at the same step three times, each time a little further on; then one that comes to the end."""
    on, expected = unkilled
    killed = [process(tmp_path, on, STEPS[step], times) for times in (1, 2, 3)]
    assert killed[0] == -signal.SIGKILL
    assert outcome(*story(tmp_path, on)) == expected
